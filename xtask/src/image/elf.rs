//! Whether a binary's shared libraries, and the symbol versions that it asks them for, are in a layer.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use object::elf::{DT_NEEDED, FileHeader64, PT_INTERP, VER_FLG_WEAK};
use object::read::elf::{FileHeader as _, ProgramHeader as _};
use object::{Endianness, StringTable};

use super::architecture::Architecture;
use super::layer::Layer;

/// What one ELF file asks of others and offers to them.
#[derive(Debug, PartialEq, Eq)]
struct Linkage {
    machine: u16,
    /// Path of the loader, without the leading slash; libraries have none.
    interpreter: Option<String>,
    /// Names of libraries it loads.
    needed: Vec<String>,
    /// Symbol versions that must be defined, each with the library that must define it.
    required: Vec<(String, String)>,
    /// Symbol versions that it defines.
    defined: BTreeSet<String>,
}

/// Fails, listing everything that is missing, unless `binary` and all libraries it reaches can be loaded from `layer`,
/// whose files are for `architecture`.
pub(super) fn check_closure(binary: &[u8], architecture: Architecture, layer: &Layer) -> Result<()> {
    let binary = read(binary).context("read the binary as an ELF file")?;
    let mut problems = Vec::new();
    if let Some(loader) = binary
        .interpreter
        .as_deref()
        .filter(|loader| !layer.contains(loader))
    {
        problems.push(format!("loader /{loader} is missing"));
    }
    let machine = binary.machine;
    let mut seen = BTreeSet::new();
    let mut queue = vec![("the binary".to_owned(), binary)];
    while let Some((name, file)) = queue.pop() {
        for library in &file.needed {
            let Some(content) = find(layer, architecture, library) else {
                problems.push(format!("{name} needs {library}, which is missing"));
                continue;
            };
            let linkage = read(content).with_context(|| format!("read {library} as an ELF file"))?;
            if linkage.machine != machine {
                problems.push(format!("{library} is for another processor than the binary"));
            }
            let undefined = file
                .required
                .iter()
                .filter(|(from, version)| from == library && !linkage.defined.contains(version));
            problems.extend(undefined.map(|(_, version)| {
                format!("{name} needs version {version} of {library}; build it on Debian 12 or older")
            }));
            if seen.insert(library.clone()) {
                queue.push((library.clone(), linkage));
            }
        }
    }
    ensure!(problems.is_empty(), "{}", problems.join("; "));
    Ok(())
}

/// The library where Debian's loader looks for it when there is no `ld.so.cache`.
fn find<'a>(layer: &'a Layer, architecture: Architecture, library: &str) -> Option<&'a [u8]> {
    let own = architecture.libraries();
    [
        format!("lib/{own}"),
        format!("usr/lib/{own}"),
        "lib".into(),
        "usr/lib".into(),
    ]
    .iter()
    .find_map(|folder| layer.content(&format!("{folder}/{library}")))
}

fn read(data: &[u8]) -> Result<Linkage> {
    let header = FileHeader64::<Endianness>::parse(data)?;
    let endian = header.endian()?;
    let mut interpreter = None;
    for segment in header.program_headers(endian, data)? {
        if segment.p_type(endian) == PT_INTERP {
            let path = segment.interpreter(endian, data)?.context("it names no loader")?;
            interpreter = Some(text(path)?.trim_start_matches('/').to_owned());
        }
    }
    let sections = header.sections(endian, data)?;
    let mut linkage = Linkage {
        machine: header.e_machine(endian).0,
        interpreter,
        needed: Vec::new(),
        required: Vec::new(),
        defined: BTreeSet::new(),
    };
    let dynamic = sections.dynamic_table(endian, data)?;
    for entry in dynamic.iter().filter(|entry| entry.tag == DT_NEEDED) {
        linkage.needed.push(text(dynamic.string(entry)?)?);
    }
    let strings: StringTable<'_> = *dynamic.strings();
    if let Some((needs, _)) = sections.gnu_verneed(endian, data)? {
        for need in needs {
            let (need, versions) = need?;
            let library = text(need.file(endian, strings)?)?;
            for version in versions {
                let version = version?;
                // The loader only warns about a weak version that is missing.
                if !version.vna_flags.get(endian).contains(VER_FLG_WEAK) {
                    linkage
                        .required
                        .push((library.clone(), text(version.name(endian, strings)?)?));
                }
            }
        }
    }
    if let Some((definitions, _)) = sections.gnu_verdef(endian, data)? {
        for definition in definitions {
            let (_, mut names) = definition?;
            // The first name is the version's own; those after it are the versions that it builds on.
            if let Some(name) = names.next()? {
                linkage.defined.insert(text(name.name(endian, strings)?)?);
            }
        }
    }
    Ok(linkage)
}

fn text(bytes: &[u8]) -> Result<String> {
    String::from_utf8(bytes.to_vec()).context("read a name as UTF-8")
}
