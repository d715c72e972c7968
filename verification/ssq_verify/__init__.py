"""The judge: drives a queue, records its history, and says which promises it keeps."""
