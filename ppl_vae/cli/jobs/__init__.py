"""Jobs: the commands, one function in one file each.

The function has the file's name; its signature is the flags (name, annotation, default), its docstring the help (the
text and ``Args``). A new command is a file here and its line in ``__all__``. An argument whose annotation is a class
of the shell's (``Settings``, ``Run``, ``Examples``) stands for the flags that make one.
"""

__all__ = [
    "train",
    "evaluate",
    "sample",
    "reconstruct",
    "interpolate",
    "impute",
    "complete",
    "denoise",
    "anomaly",
    "embed",
    "predict",
    "compress",
    "decompress",
    "compare",
    "report",
    "list",
]
