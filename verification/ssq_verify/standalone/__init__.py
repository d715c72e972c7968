"""What a script of one run brings along: `ssq_verify.script` copies the text of these modules into it."""
