"""What wasmos is compared with. Whatever is not installed raises MissingError."""
