"""What workers wrote, read from their files: the last lines of each slot, and all that follow, whatever befalls files.

Needs no daemon: files, their older ones and a note of where output goes are all there is to it. Who shows them, and
how, is the command line's business.
"""
