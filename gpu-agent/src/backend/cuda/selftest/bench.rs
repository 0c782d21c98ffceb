//! A card's memory as checks see it, and how results are compared.

use std::collections::BTreeMap;

use super::check::Check;
use super::plain::Plain;
use crate::backend::arithmetic::Quantised;
use crate::backend::cuda::device::{Buffer, Device};
use crate::backend::cuda::launch::{Activations, Argument, Shape};
use crate::backend::error::{DeviceError, DeviceFault};

/// A card, with what was put on it for the check at hand, and the checks so far.
pub(super) struct Bench<'a> {
    device: &'a mut Device,
    buffers: BTreeMap<u64, Buffer>,
    pub(super) checks: Vec<Check>,
}

impl<'a> Bench<'a> {
    pub(super) fn new(device: &'a mut Device) -> Self {
        Self {
            device,
            buffers: BTreeMap::new(),
            checks: Vec::new(),
        }
    }

    /// Compute capability.
    pub(super) fn capability(&self) -> (i32, i32) {
        self.device.capability()
    }

    /// Copies values to the card; none have the address 0.
    pub(super) fn upload<P: Plain>(&mut self, values: &[P]) -> Result<u64, DeviceError> {
        let mut bytes = Vec::with_capacity(values.len() * P::SIZE);
        for value in values {
            value.put(&mut bytes);
        }
        let mut buffer = self.device.room(bytes.len(), "a check's input")?;
        self.device.upload(&mut buffer, 0, &bytes)?;
        let address = buffer.address();
        self.buffers.insert(address, buffer);
        Ok(address)
    }

    /// Room for a result, filled with what no kernel writes.
    pub(super) fn reserve<P: Plain>(&mut self, count: usize) -> Result<u64, DeviceError> {
        self.upload(&vec![0xff_u8; count * P::SIZE])
    }

    /// Reads values from where something was put or reserved.
    pub(super) fn download<P: Plain>(&self, address: u64, count: usize) -> Result<Vec<P>, DeviceError> {
        let buffer = self.buffers.get(&address).ok_or_else(|| DeviceError {
            fault: DeviceFault::Failed,
            what: "a check read what it did not reserve".to_owned(),
        })?;
        let mut bytes = vec![0; count * P::SIZE];
        self.device.download(buffer, 0, &mut bytes)?;
        Ok(bytes.chunks_exact(P::SIZE).map(P::take).collect())
    }

    /// Gives the memory of a check back.
    pub(super) fn clear(&mut self) {
        self.buffers.clear();
    }

    pub(super) fn run(
        &mut self,
        module: &str,
        kernel: &'static str,
        shape: Shape,
        arguments: &[Argument],
    ) -> Result<(), DeviceError> {
        self.device.launch(module, kernel, shape, arguments)
    }

    /// Notes what a kernel gave.
    pub(super) fn note(&mut self, module: &str, kernel: &str, shape: String, difference: Option<String>) {
        self.checks.push(Check {
            kernel: kernel.to_owned(),
            module: module.to_owned(),
            shape,
            difference,
        });
    }

    /// Copies quantised rows to the card: plain ones, and with residuals where `fine`.
    pub(super) fn upload_groups(
        &mut self,
        plain: &[Quantised],
        fine: Option<&[Quantised]>,
    ) -> Result<Activations, DeviceError> {
        let quants: Vec<i8> = plain.iter().flat_map(|group| group.quants).collect();
        let scales: Vec<f32> = plain.iter().map(|group| group.scale).collect();
        let totals: Vec<f32> = plain.iter().map(|group| group.total).collect();
        let mut to = Activations {
            quants: self.upload(&quants)?,
            scales: self.upload(&scales)?,
            totals: self.upload(&totals)?,
            ..Activations::default()
        };
        if let Some(fine) = fine {
            let residuals: Vec<i8> = fine.iter().flat_map(|group| group.residuals).collect();
            let totals: Vec<f32> = fine.iter().map(|group| group.total).collect();
            to.residuals = self.upload(&residuals)?;
            to.fine_totals = self.upload(&totals)?;
        }
        Ok(to)
    }

    /// Room for quantised groups with residuals.
    pub(super) fn reserve_groups(&mut self, groups: usize) -> Result<Activations, DeviceError> {
        Ok(Activations {
            quants: self.reserve::<i8>(groups * 32)?,
            residuals: self.reserve::<i8>(groups * 32)?,
            scales: self.reserve::<f32>(groups)?,
            totals: self.reserve::<f32>(groups)?,
            fine_totals: self.reserve::<f32>(groups)?,
        })
    }

    /// How groups with residuals on the card differ from those of a row of values.
    pub(super) fn compare_groups(
        &self,
        at: Activations,
        expected: &[Quantised],
    ) -> Result<Option<String>, DeviceError> {
        let quants: Vec<i8> = self.download(at.quants, expected.len() * 32)?;
        let residuals: Vec<i8> = self.download(at.residuals, expected.len() * 32)?;
        let scales: Vec<f32> = self.download(at.scales, expected.len())?;
        let totals: Vec<f32> = self.download(at.fine_totals, expected.len())?;
        for (index, group) in expected.iter().enumerate() {
            let columns = index * 32..index * 32 + 32;
            let equal = quants[columns.clone()] == group.quants
                && residuals[columns] == group.residuals
                && same(scales[index], group.scale)
                && same(totals[index], group.total);
            if !equal {
                return Ok(Some(format!("group {index} of 32 values is quantised otherwise")));
            }
        }
        Ok(None)
    }
}

/// Whether two floats have the same bits, or are both NaN, whose payload is no part of the arithmetic.
pub(super) fn same(a: f32, b: f32) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
}

/// How floats differ from what was expected.
pub(super) fn difference(got: &[f32], expected: &[f32]) -> Option<String> {
    let count = got.len();
    let wrong = (0..count).filter(|index| !same(got[*index], expected[*index]));
    let first = wrong.clone().next()?;
    Some(format!(
        "{} of {count} values differ; number {first} is {:e}, not {:e}",
        wrong.count(),
        got[first],
        expected[first]
    ))
}
