//! Brings a file's tensors to the machines that want them, in the order of the file and each read once.

use std::collections::BTreeMap;

use super::manifest::{Form, Wanted};
use crate::{
    backend::{
        AllocationError,
        ops::{MatrixError, Ops},
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

    fn matrix(tensor: &str, error: MatrixError) -> Self {
        match error {
            MatrixError::Model(error) => Self::Model(error),
            MatrixError::Allocation(source) => Self::allocation(tensor, source),
        }
    }
}

/// What one machine holds of a file, until it is handed out.
pub(super) struct Store<'a, O: Ops> {
    file: &'a ModelFile,
    matrices: BTreeMap<String, O::Matrix>,
    vectors: BTreeMap<String, O::Vector>,
}

impl<O: Ops> Store<'_, O> {
    pub(super) fn optional_matrix(&mut self, name: &str) -> Option<O::Matrix> {
        self.matrices.remove(name)
    }

    pub(super) fn matrix(&mut self, name: &str) -> Result<O::Matrix, ModelError> {
        let found = self.optional_matrix(name);
        found.ok_or_else(|| self.missing(name))
    }

    pub(super) fn optional_vector(&mut self, name: &str) -> Option<O::Vector> {
        self.vectors.remove(name)
    }

    pub(super) fn vector(&mut self, name: &str) -> Result<O::Vector, ModelError> {
        let found = self.optional_vector(name);
        found.ok_or_else(|| self.missing(name))
    }

    fn missing(&self, name: &str) -> ModelError {
        self.file.refuse(&format!("tensor {name}"), "is missing")
    }
}

/// Brings every tensor of the file to the machines whose lists name it: what each of them holds, in their order.
pub(super) fn bring<'a, O: Ops>(
    file: &'a ModelFile,
    machines: &mut [(O, Vec<Wanted>)],
) -> Result<Vec<Store<'a, O>>, LoadError> {
    let mut stores: Vec<Store<'a, O>> = machines
        .iter()
        .map(|_| Store {
            file,
            matrices: BTreeMap::new(),
            vectors: BTreeMap::new(),
        })
        .collect();
    for ((_, name), (form, takers)) in in_order_of_the_file(file, machines) {
        let takes = |index: usize| takers.binary_search(&index).is_ok();
        match form {
            Form::Matrix { rows, columns, care } => {
                let Some(source) = file.matrix(&name, rows, columns)? else {
                    continue;
                };
                let mut taking: Vec<&mut O> = machines
                    .iter_mut()
                    .enumerate()
                    .filter(|(index, _)| takes(*index))
                    .map(|(_, (ops, _))| ops)
                    .collect();
                let matrices = O::matrices(&mut taking, &source, care)
                    .map_err(|error| LoadError::matrix(&name, error))?;
                for (index, matrix) in takers.iter().zip(matrices) {
                    stores[*index].matrices.insert(name.clone(), matrix);
                }
            }
            Form::Vector { length } => {
                let Some(values) = file.vector(&name, length)? else {
                    continue;
                };
                for index in takers {
                    let brought = machines[index].0.vector(values.clone());
                    let vector = brought.map_err(|source| LoadError::allocation(&name, source))?;
                    stores[index].vectors.insert(name.clone(), vector);
                }
            }
        }
    }
    Ok(stores)
}

/// What the file has of what is wanted, by where it begins: what it must be, and which machines want it.
fn in_order_of_the_file<O>(
    file: &ModelFile,
    machines: &[(O, Vec<Wanted>)],
) -> BTreeMap<(u64, String), (Form, Vec<usize>)> {
    let mut found: BTreeMap<(u64, String), (Form, Vec<usize>)> = BTreeMap::new();
    for (index, (_, wanted)) in machines.iter().enumerate() {
        for Wanted { name, form } in wanted {
            if let Some(info) = file.header().tensors.get(name) {
                let entry = found.entry((info.offset, name.clone()));
                let (_, takers) = entry.or_insert_with(|| (*form, Vec::new()));
                takers.push(index);
            }
        }
    }
    found
}

/// A tensor that nobody asked for belongs to an architecture that this code does not compute.
pub(super) fn refuse_unknown(file: &ModelFile, known: impl Fn(&str) -> bool) -> Result<(), ModelError> {
    match file.header().tensors.keys().find(|name| !known(name)) {
        None => Ok(()),
        Some(name) => Err(file.refuse(
            &format!("tensor {name}"),
            "is not part of a supported architecture",
        )),
    }
}
