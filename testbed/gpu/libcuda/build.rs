//! Names the library: programs and their loaders look for `libcuda.so.1`, whatever the file is called.

fn main() {
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libcuda.so.1");
    println!("cargo:rerun-if-changed=build.rs");
}
