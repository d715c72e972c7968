"""What a person, or a program, is shown of a run: a table, a story, a document. Nothing here prints."""
