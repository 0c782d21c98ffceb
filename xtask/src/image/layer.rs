//! One layer of an image: a tree of files whose archive depends on nothing but the tree.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

/// A file system object, always owned by root and dated 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    Directory { mode: u32 },
    File { mode: u32, content: Vec<u8> },
    Link { target: String },
}

/// A tree of [`Node`]s by path; paths are relative to the root and have no trailing slash.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Layer {
    /// Sorted, so a folder comes before what is in it.
    nodes: BTreeMap<String, Node>,
}

impl Layer {
    /// Adds a folder, and its parents with mode 0755.
    pub(crate) fn directory(&mut self, path: &str, mode: u32) {
        self.insert(path, Node::Directory { mode });
    }

    /// Adds a file, and its parents with mode 0755.
    pub(crate) fn file(&mut self, path: &str, mode: u32, content: Vec<u8>) {
        self.insert(path, Node::File { mode, content });
    }

    /// Adds a node, and its parents with mode 0755.
    pub(crate) fn insert(&mut self, path: &str, node: Node) {
        let parents = path.match_indices('/').map(|(end, _)| &path[..end]);
        for parent in parents {
            self.nodes
                .entry(parent.to_owned())
                .or_insert(Node::Directory { mode: 0o755 });
        }
        self.nodes.insert(path.to_owned(), node);
    }

    /// The content of the regular file at `path`, if there is one.
    pub(crate) fn content(&self, path: &str) -> Option<&[u8]> {
        match self.nodes.get(path)? {
            Node::File { content, .. } => Some(content),
            Node::Directory { .. } | Node::Link { .. } => None,
        }
    }

    /// Whether anything is at `path`.
    pub(crate) fn contains(&self, path: &str) -> bool {
        self.nodes.contains_key(path)
    }

    /// Every path, sorted.
    #[cfg(test)]
    pub(crate) fn paths(&self) -> impl Iterator<Item = &str> {
        self.nodes.keys().map(String::as_str)
    }

    /// The layer as an uncompressed tar archive.
    pub(crate) fn to_tar(&self) -> Result<Vec<u8>> {
        let mut archive = tar::Builder::new(Vec::new());
        for (path, node) in &self.nodes {
            append(&mut archive, path, node).with_context(|| format!("add {path} to a layer"))?;
        }
        archive.into_inner().context("finish a layer")
    }
}

fn append(archive: &mut tar::Builder<Vec<u8>>, path: &str, node: &Node) -> std::io::Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(0);
    match node {
        Node::Directory { mode } => {
            header.set_entry_type(tar::EntryType::Directory);
            header.set_mode(*mode);
            archive.append_data(&mut header, format!("{path}/"), std::io::empty())
        }
        Node::File { mode, content } => {
            header.set_entry_type(tar::EntryType::Regular);
            header.set_mode(*mode);
            header.set_size(content.len() as u64);
            archive.append_data(&mut header, path, content.as_slice())
        }
        Node::Link { target } => {
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_mode(0o777);
            archive.append_link(&mut header, path, target)
        }
    }
}
