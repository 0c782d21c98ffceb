"""Compiles CUDA C++ to PTX with the NVRTC library of a given folder; no GPU and no driver is needed.

Reads one JSON object from standard input: {"libraries": [paths, in loading order], "headers": {name: text}, "jobs":
[{"name": shown in messages, "source": text, "options": [...]}]}. Writes a JSON list to standard output, one {"ptx": text or
null, "log": text} a job. The calls are those of the NVRTC documentation, chapter "Basic Usage".
"""

import ctypes
import json
import sys


def check(nvrtc, result, what):
    if result != 0:
        nvrtc.nvrtcGetErrorString.restype = ctypes.c_char_p
        raise RuntimeError(f"{what}: {nvrtc.nvrtcGetErrorString(result).decode()}")


def read(nvrtc, program, size_of, content_of):
    size = ctypes.c_size_t()
    check(nvrtc, size_of(program, ctypes.byref(size)), "ask for a size")
    content = ctypes.create_string_buffer(size.value)
    check(nvrtc, content_of(program, content), "read a result")
    return content.value.decode()


def strings(texts):
    return (ctypes.c_char_p * len(texts))(*[text.encode() for text in texts])


def compile_one(nvrtc, headers, job):
    program = ctypes.c_void_p()
    created = nvrtc.nvrtcCreateProgram(
        ctypes.byref(program),
        job["source"].encode(),
        job["name"].encode(),
        len(headers),
        strings(headers.values()),
        strings(headers.keys()),
    )
    check(nvrtc, created, "create a program")
    result = nvrtc.nvrtcCompileProgram(program, len(job["options"]), strings(job["options"]))
    log = read(nvrtc, program, nvrtc.nvrtcGetProgramLogSize, nvrtc.nvrtcGetProgramLog)
    ptx = None
    if result == 0:
        ptx = read(nvrtc, program, nvrtc.nvrtcGetPTXSize, nvrtc.nvrtcGetPTX)
    check(nvrtc, nvrtc.nvrtcDestroyProgram(ctypes.byref(program)), "destroy a program")
    return {"ptx": ptx, "log": log.strip()}


def main():
    request = json.load(sys.stdin)
    for path in request["libraries"]:
        nvrtc = ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)
    json.dump([compile_one(nvrtc, request["headers"], job) for job in request["jobs"]], sys.stdout)


main()
