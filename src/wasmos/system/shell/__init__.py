"""The shell of a system.

shell      reads lines, runs commands and programs
commands   what there is besides programs
complete   what Tab puts in place of a word
http       one of them: fetches a page
"""
