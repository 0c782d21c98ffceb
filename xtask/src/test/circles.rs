//! Import circles: files of one crate that, by way of each other, import themselves.
//!
//! A file imports only what stands before it, so that it can be read, tested and moved without what comes after. `mod`
//! lines are no imports: a folder's file may name what is in the folder. What it imports from there, or re-exports, may
//! not import it back. A name that comes from a re-export counts as imported from the file that defines it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use anyhow::{Context as _, Result};

use crate::workspace;

/// Re-exports that are followed from one to the next at most: more would be a circle of their own.
const MAX_REEXPORTS: usize = 8;

/// A module as its path from the crate's root; the root is empty.
type Module = Vec<String>;

/// One imported path, and the name that it has where it is imported.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Import {
    path: Vec<String>,
    name: String,
}

/// The modules of one crate with what each imports.
#[derive(Debug, Default)]
struct Crate(BTreeMap<Module, Vec<Import>>);

/// All circles of all crates, each as one line.
pub(super) fn all(paths: &[String]) -> Result<Vec<String>> {
    let mut crates: BTreeMap<&str, Crate> = BTreeMap::new();
    for path in paths {
        let Some((folder, file)) = path.split_once("/src/") else {
            continue;
        };
        let Some(module) = module(file) else { continue };
        let full = workspace::root().join(path);
        // A file may be deleted and not yet committed.
        if !full.exists() {
            continue;
        }
        let text = fs::read_to_string(&full).with_context(|| format!("read {path}"))?;
        crates.entry(folder).or_default().0.insert(module, imports(&text));
    }
    let circles = crates.iter().flat_map(|(folder, found)| {
        let names = |circle: Vec<&Module>| {
            let files: Vec<String> = circle.iter().map(|module| name(folder, module)).collect();
            format!("{}: these files import each other", files.join(", "))
        };
        found.circles().into_iter().map(names)
    });
    Ok(circles.collect())
}

fn name(folder: &str, module: &Module) -> String {
    if module.is_empty() {
        return format!("{folder}/src");
    }
    format!("{folder}/src/{}.rs", module.join("/"))
}

/// The module of a file; none for tests, which may import everything, and for other programs of the crate.
fn module(file: &str) -> Option<Module> {
    let path = Path::new(file.strip_suffix(".rs")?);
    let mut parts: Module = path
        .iter()
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    if parts.iter().any(|part| part == "tests") || parts.first().is_some_and(|first| first == "bin") {
        return None;
    }
    if parts.last().is_some_and(|last| last == "mod") || matches!(&parts[..], [only] if only == "lib") {
        parts.pop();
    }
    Some(parts)
}

/// Everything that a file imports, tests left out.
fn imports(text: &str) -> Vec<Import> {
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or(text);
    let code: String = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or(line).to_owned() + "\n")
        .collect();
    let mut found = Vec::new();
    let mut statement: Option<String> = None;
    for line in code.lines() {
        let trimmed = line.trim();
        if let (None, Some(rest)) = (&statement, after_use(trimmed)) {
            statement = Some(rest.to_owned());
        } else if let Some(statement) = &mut statement {
            statement.push(' ');
            statement.push_str(trimmed);
        }
        if let Some((whole, _)) = statement.as_deref().and_then(|text| text.split_once(';')) {
            found.extend(expand(whole).iter().filter_map(|path| import(path)));
            statement = None;
        }
    }
    found
}

/// What follows `use`, whatever its visibility.
fn after_use(line: &str) -> Option<&str> {
    let line = match line.strip_prefix("pub") {
        Some(rest) if rest.starts_with('(') => rest.split_once(')')?.1.trim_start(),
        Some(rest) => rest.trim_start(),
        None => line,
    };
    line.strip_prefix("use ")
}

/// `a::{b, c::d}` as `a::b` and `a::c::d`.
fn expand(tree: &str) -> Vec<String> {
    let Some((before, rest)) = tree.split_once('{') else {
        return vec![tree.trim().to_owned()];
    };
    let inside = rest.rsplit_once('}').map_or(rest, |(inside, _)| inside);
    let (mut parts, mut depth) = (vec![String::new()], 0_usize);
    for letter in inside.chars() {
        match letter {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(part) = parts.last_mut() {
            part.push(letter);
        }
    }
    let named = parts.iter().filter(|part| !part.trim().is_empty());
    named
        .flat_map(|part| expand(&format!("{}{}", before.trim(), part.trim())))
        .collect()
}

fn import(text: &str) -> Option<Import> {
    let (path, alias) = match text.split_once(" as ") {
        Some((path, alias)) => (path, Some(alias.trim().to_owned())),
        None => (text, None),
    };
    let mut path: Vec<String> = path.split("::").map(|part| part.trim().to_owned()).collect();
    if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
        path.pop();
    }
    let name = alias.or_else(|| path.last().cloned())?;
    Some(Import { path, name })
}

impl Crate {
    /// Where a path leads to within the crate; none where it leads out of it.
    fn resolve(&self, from: &Module, path: &[String], depth: usize) -> Option<Module> {
        let (mut at, mut rest): (Module, &[String]) = match path.first()?.as_str() {
            "crate" => (Module::new(), &path[1..]),
            "self" => (from.clone(), &path[1..]),
            "super" => {
                let ups = path.iter().take_while(|part| *part == "super").count();
                (from[..from.len().checked_sub(ups)?].to_vec(), &path[ups..])
            }
            first => {
                let child = [&from[..], &[first.to_owned()]].concat();
                self.0.contains_key(&child).then(|| (from.clone(), path))?
            }
        };
        while let Some(next) = rest.first() {
            let child = [&at[..], std::slice::from_ref(next)].concat();
            if !self.0.contains_key(&child) {
                break;
            }
            (at, rest) = (child, &rest[1..]);
        }
        if let (Some(item), true) = (rest.first(), depth < MAX_REEXPORTS) {
            let brought = self.0.get(&at)?.iter().filter(|import| import.name == *item);
            let mut leads = brought.filter_map(|import| self.resolve(&at, &import.path, depth + 1));
            if let Some(found) = leads.next() {
                return Some(found);
            }
        }
        self.0.contains_key(&at).then_some(at)
    }

    /// What each module imports of the same crate.
    fn edges(&self) -> BTreeMap<&Module, BTreeSet<Module>> {
        let targets = |(module, imports): (&'_ Module, &Vec<Import>)| {
            imports
                .iter()
                .filter_map(|import| self.resolve(module, &import.path, 0))
                .filter(|target| target != module)
                .collect()
        };
        self.0.iter().map(|entry| (entry.0, targets(entry))).collect()
    }

    /// Sets of modules that all reach each other.
    fn circles(&self) -> Vec<Vec<&Module>> {
        let edges = self.edges();
        let reach = |from: &Module| {
            let (mut seen, mut open) = (BTreeSet::new(), vec![from.clone()]);
            while let Some(module) = open.pop() {
                let next = edges.get(&module).into_iter().flatten();
                open.extend(next.filter(|target| seen.insert((*target).clone())).cloned());
            }
            seen
        };
        let reached: BTreeMap<&Module, BTreeSet<Module>> =
            self.0.keys().map(|module| (module, reach(module))).collect();
        let is_in_circle = |a: &Module, b: &Module| reached[a].contains(b) && reached[b].contains(a);
        let (mut circles, mut told): (Vec<Vec<&Module>>, BTreeSet<&Module>) = (Vec::new(), BTreeSet::new());
        for module in self.0.keys().filter(|module| is_in_circle(module, module)) {
            if told.contains(module) {
                continue;
            }
            let circle: Vec<&Module> = self
                .0
                .keys()
                .filter(|other| is_in_circle(module, other))
                .collect();
            told.extend(circle.iter().copied());
            circles.push(circle);
        }
        circles
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crate_of(files: &[(&str, &str)]) -> Crate {
        let modules = files
            .iter()
            .map(|(file, text)| (module(file).expect("a module"), imports(text)));
        Crate(modules.collect())
    }

    fn circles(files: &[(&str, &str)]) -> Vec<String> {
        let found = crate_of(files);
        let names = |circle: Vec<&Module>| {
            circle
                .iter()
                .map(|module| module.join("/"))
                .collect::<Vec<_>>()
                .join(" ")
        };
        found.circles().into_iter().map(names).collect()
    }

    #[test]
    fn siblings_that_import_each_other_are_a_circle() {
        let files = [
            ("lib.rs", "mod a;\nmod b;\nmod c;\n"),
            ("a.rs", "use super::b::B;\n"),
            ("b.rs", "use crate::{\n    a::A, // as it is\n    c,\n};\n"),
            ("c.rs", "use std::fmt;\n"),
        ];
        assert_eq!(circles(&files), ["a b"]);
    }

    #[test]
    fn a_folder_that_imports_what_imports_it_is_a_circle_and_naming_it_is_none() {
        let folder = |parent: &str| {
            [
                ("lib.rs", ""),
                ("a.rs", parent),
                ("a/b.rs", "use super::Thing;\n"),
            ]
            .map(|(f, t)| (f.to_owned(), t.to_owned()))
        };
        let of = |parent: &str| {
            let files = folder(parent);
            let files: Vec<(&str, &str)> = files
                .iter()
                .map(|(file, text)| (file.as_str(), text.as_str()))
                .collect();
            circles(&files)
        };
        assert!(of("mod b;\nstruct Thing;\n").is_empty());
        assert_eq!(of("mod b;\npub use b::Other;\nstruct Thing;\n"), ["a a/b"]);
    }

    #[test]
    fn a_name_comes_from_the_file_that_defines_it() {
        let files = [
            ("lib.rs", ""),
            (
                "a.rs",
                "mod first;\nmod second;\npub use first::Thing;\nuse second::go;\n",
            ),
            ("a/first.rs", ""),
            ("a/second.rs", "use super::Thing;\n"),
        ];
        assert!(circles(&files).is_empty());
    }

    #[test]
    fn tests_may_import_everything() {
        let files = [
            ("lib.rs", ""),
            ("a.rs", "use super::b::B;\n"),
            ("b.rs", "#[cfg(test)]\nmod tests {\n    use crate::a::A;\n}\n"),
        ];
        assert!(circles(&files).is_empty());
        assert_eq!(module("a/tests.rs"), None);
    }

    #[test]
    fn nested_lists_are_each_of_their_paths() {
        assert_eq!(
            expand("a::{b, c::{d, e as f}, self}"),
            ["a::b", "a::c::d", "a::c::e as f", "a::self"]
        );
        let renamed = import("a::c::e as f").expect("an import");
        assert_eq!((renamed.name.as_str(), renamed.path.len()), ("f", 3));
        assert_eq!(import("a::self").expect("an import").path, ["a"]);
    }
}
