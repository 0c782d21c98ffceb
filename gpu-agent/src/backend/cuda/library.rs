//! The driver's library: whether it loads, and what is so where it does not.
#![expect(unsafe_code, reason = "loading a library runs its initialisers")]

use std::env::consts::ARCH;
use std::error::Error as _;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use cudarc::driver::sys;
use libloading::Library;

use super::error::OpenError;

/// The library, as NVIDIA's toolkit mounts it into containers.
const NAME: &str = "libcuda.so.1";
/// Bytes of an ELF header before its version: class and byte order, kind, machine.
const HEADER_BYTES: usize = 20;
/// `EI_CLASS` and `EI_DATA` of this program's own libraries: 64 bits, the lower byte first.
const CLASS_AND_ORDER: [u8; 2] = [2, 1];

/// Makes sure that the driver's library loads.
///
/// # Errors
/// It is not there, or cannot be loaded.
pub(super) fn ensure_loads() -> Result<(), OpenError> {
    // SAFETY: it opens the library, as every call of the driver does, and looks for one symbol.
    if unsafe { sys::is_culib_present() } {
        return Ok(());
    }
    let listed = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let listed: Vec<PathBuf> = std::env::split_paths(&listed).collect();
    // The loader passes over a file of another architecture as if it were not there.
    let file = listed
        .into_iter()
        .chain(system_folders())
        .map(|folder| folder.join(NAME))
        .find(|file| file.exists());
    let tried = file.as_deref().unwrap_or(Path::new(NAME));
    let Some(said) = refusal(tried) else {
        return Err(OpenError::DriverUnloadable {
            file: tried.to_owned(),
            why: "it loads by its path, and the loader does not look into its folder: ldconfig adds it"
                .to_owned(),
        });
    };
    let why = match &file {
        // Found by the loader's cache alone, if at all.
        None if is_absence(&said) => return Err(OpenError::NoDriver),
        Some(file) if is_foreign(&header(file)) => "it is for another architecture".to_owned(),
        _ => said,
    };
    Err(OpenError::DriverUnloadable {
        file: tried.to_owned(),
        why,
    })
}

/// Where the loader looks on the distributions that people have, whatever its cache says.
fn system_folders() -> impl Iterator<Item = PathBuf> {
    let own = format!("lib/{ARCH}-linux-gnu");
    let folders = [own.as_str(), "lib64", "lib"]
        .map(|folder| [Path::new("/usr").join(folder), Path::new("/").join(folder)]);
    folders.into_iter().flatten()
}

/// Why the loader refuses the library, in its own words; none where it takes it.
fn refusal(file: &Path) -> Option<String> {
    // SAFETY: it is the driver that the node offers, which cudarc has tried to load by the same name.
    let error = unsafe { Library::new(file) }.err()?;
    let said = error
        .source()
        .map_or_else(|| error.to_string(), ToString::to_string);
    // The file is named beside it.
    let named = format!("{}: ", file.display());
    Some(said.strip_prefix(&named).unwrap_or(&said).to_owned())
}

/// Whether the loader means the driver's library itself, and not one that it needs.
fn is_absence(said: &str) -> bool {
    said.starts_with("cannot open shared object file: No such file")
}

/// The beginning of a file, as far as there is one.
fn header(file: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    let read = File::open(file).and_then(|file| file.take(HEADER_BYTES as u64).read_to_end(&mut bytes));
    // What cannot be read says nothing of its machine, and the loader has said why.
    read.map_or_else(|_| Vec::new(), |_| bytes)
}

/// Whether this is the beginning of a library for other processors, as `e_ident` and `e_machine` of the ELF
/// specification say it.
fn is_foreign(header: &[u8]) -> bool {
    let machine: u16 = match ARCH {
        "x86_64" => 62,
        "aarch64" => 183,
        _ => return false,
    };
    let is_elf = header.starts_with(b"\x7fELF");
    is_elf
        && header.len() == HEADER_BYTES
        && (header[4..6] != CLASS_AND_ORDER || header[18..] != machine.to_le_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_of_another_machine_is_told_from_ones_own() {
        let own = header(&std::env::current_exe().expect("this executable"));
        assert_eq!(own.len(), HEADER_BYTES);
        assert!(!is_foreign(&own));
        let with = |at: usize, byte: u8| {
            let mut other = own.clone();
            other[at] = byte;
            other
        };
        assert!(is_foreign(&with(4, 1)), "32 bits");
        assert!(is_foreign(&with(5, 2)), "the higher byte first");
        assert!(is_foreign(&with(18, 243)), "RISC-V");
        assert!(!is_foreign(b"no library") && !is_foreign(&own[..12]));
    }

    #[test]
    fn a_library_that_the_driver_needs_is_not_the_driver() {
        let words = "cannot open shared object file: No such file or directory";
        assert!(is_absence(words));
        assert!(!is_absence(&format!("libnvidia-ptxjitcompiler.so.1: {words}")));
        assert!(!is_absence("file too short"));
    }

    proptest::proptest! {
        #[test]
        fn any_beginning_of_a_file_is_read_without_a_panic(bytes: Vec<u8>) {
            let _ = is_foreign(&bytes);
            let _ = is_foreign(&[b"\x7fELF", bytes.as_slice()].concat());
        }
    }
}
