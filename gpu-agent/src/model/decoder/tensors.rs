//! Hands out a file's tensors, and remembers which were asked for.

use std::collections::BTreeSet;

use crate::{
    backend::{
        AllocationError,
        ops::{Care, Ops},
    },
    weights::file::{ModelError, ModelFile},
};

/// Why a model cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file is not what the architecture needs.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A device has no memory for the weights.
    #[error("cannot load tensor {tensor}; use a smaller model, or provide more memory")]
    Allocation {
        /// The tensor.
        tensor: String,
        /// The cause.
        source: AllocationError,
    },
}

impl LoadError {
    fn allocation(tensor: &str, source: AllocationError) -> Self {
        let tensor = tensor.to_owned();
        Self::Allocation { tensor, source }
    }
}

/// A file's tensors.
pub(super) struct Tensors<'a> {
    file: &'a ModelFile,
    used: BTreeSet<String>,
}

impl<'a> Tensors<'a> {
    pub(super) fn new(file: &'a ModelFile) -> Self {
        Self {
            file,
            used: BTreeSet::new(),
        }
    }

    pub(super) fn optional_matrix<O: Ops>(
        &mut self,
        ops: &mut O,
        name: &str,
        care: Care,
        [rows, columns]: [usize; 2],
    ) -> Result<Option<O::Matrix>, LoadError> {
        self.used.insert(name.to_owned());
        let Some(raw) = self.file.matrix(name, rows, columns)? else {
            return Ok(None);
        };
        let refused = |source| LoadError::allocation(name, source);
        ops.matrix(raw, care).map(Some).map_err(refused)
    }

    pub(super) fn matrix<O: Ops>(
        &mut self,
        ops: &mut O,
        name: &str,
        care: Care,
        shape: [usize; 2],
    ) -> Result<O::Matrix, LoadError> {
        self.optional_matrix(ops, name, care, shape)?
            .ok_or_else(|| self.missing(name).into())
    }

    pub(super) fn optional_floats(
        &mut self,
        name: &str,
        length: usize,
    ) -> Result<Option<Vec<f32>>, ModelError> {
        self.used.insert(name.to_owned());
        self.file.vector(name, length)
    }

    pub(super) fn optional_vector<O: Ops>(
        &mut self,
        ops: &mut O,
        name: &str,
        length: usize,
    ) -> Result<Option<O::Vector>, LoadError> {
        let Some(values) = self.optional_floats(name, length)? else {
            return Ok(None);
        };
        let refused = |source| LoadError::allocation(name, source);
        ops.vector(values).map(Some).map_err(refused)
    }

    pub(super) fn vector<O: Ops>(
        &mut self,
        ops: &mut O,
        name: &str,
        length: usize,
    ) -> Result<O::Vector, LoadError> {
        self.optional_vector(ops, name, length)?
            .ok_or_else(|| self.missing(name).into())
    }

    fn missing(&self, name: &str) -> ModelError {
        self.file.refuse(&format!("tensor {name}"), "is missing")
    }

    /// A tensor that nobody asked for belongs to an architecture that this code does not compute.
    pub(super) fn refuse_unused(&self) -> Result<(), ModelError> {
        let unused = |name: &&String| !self.used.contains(*name);
        match self.file.header().tensors.keys().find(unused) {
            None => Ok(()),
            Some(name) => Err(self.file.refuse(
                &format!("tensor {name}"),
                "is not part of a supported architecture",
            )),
        }
    }
}
