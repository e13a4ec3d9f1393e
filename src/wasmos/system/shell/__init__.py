"""The shell of a system.

shell      reads lines, runs commands and programs
commands   what there is besides programs
http       one of them: fetches a page
"""
