#!/usr/bin/env python3
"""Compiles the kernels of this folder to PTX with NVRTC.

    pip download --no-deps nvidia-cuda-nvrtc-cu12==12.0.140 && unzip nvidia_cuda_nvrtc_cu12-*.whl
    python3 compile.py nvidia/cuda_nvrtc/lib/libnvrtc.so.12
"""
import ctypes
import pathlib
import sys

FILES = {"rmsnorm": [61, 80], "quantise": [75], "gemv": [61, 90], "attention": [75, 80], "gemm": [80], "calls": [61, 90]}


def compile_file(nvrtc, name, capability, folder):
    source = (folder / f"{name}.cu").read_bytes()
    program = ctypes.c_void_p()
    assert nvrtc.nvrtcCreateProgram(ctypes.byref(program), source, f"{name}.cu".encode(), 0, None, None) == 0
    options = (ctypes.c_char_p * 1)(f"--gpu-architecture=compute_{capability}".encode())
    status = nvrtc.nvrtcCompileProgram(program, 1, options)
    size = ctypes.c_size_t()
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetProgramLog(program, log)
    if status != 0:
        sys.exit(f"{name}: {log.value.decode()}")
    nvrtc.nvrtcGetPTXSize(program, ctypes.byref(size))
    ptx = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetPTX(program, ptx)
    header = f"// Generated from {name}.cu by `compile.py` with NVRTC 12.0.140 for compute_{capability}. Not written by hand.\n"
    (folder / f"{name}.sm_{capability}.ptx").write_text(header + ptx.value.decode())


def main():
    nvrtc = ctypes.CDLL(sys.argv[1])
    folder = pathlib.Path(__file__).parent
    for name, capabilities in FILES.items():
        for capability in capabilities:
            compile_file(nvrtc, name, capability, folder)


main()
