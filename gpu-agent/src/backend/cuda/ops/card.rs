//! The card that the operations run on.

use std::sync::Arc;

use super::CudaOps;
use crate::backend::cuda::device::Device;
use crate::backend::cuda::error::OpenError;
use crate::backend::cuda::modules::{self, Dot};
use crate::backend::cuda::probe;
use crate::backend::cuda::rates::Units;
use crate::backend::cuda::recording::Recordings;
use crate::backend::cuda::ring;
use crate::backend::cuda::selftest::{self, Check, Depth, Shapes};
use crate::backend::error::DeviceError;
use crate::backend::sample::Sampled;

impl CudaOps {
    /// Opens card `ordinal` of those that `CUDA_VISIBLE_DEVICES` leaves, and measures its rates.
    ///
    /// # Errors
    /// There is no driver or card that the kernels run on, or it fails under measurement.
    pub fn open(ordinal: usize) -> Result<Self, OpenError> {
        let mut device = Device::open(ordinal)?;
        let rates =
            probe::measure(&mut device).map_err(|source| OpenError::Measurement { ordinal, source })?;
        let units = Units::new(rates, device.capability());
        Ok(Self {
            device,
            units,
            reserved: None,
            sampled: Sampled::default(),
            logits: Vec::new(),
            recordings: Recordings::default(),
            ring: Arc::default(),
        })
    }

    /// Opens every card that `CUDA_VISIBLE_DEVICES` leaves, at least one. They share the memory through which weights
    /// stream. What is wrong with the others comes beside them: a rig with a broken card serves with the rest.
    ///
    /// # Errors
    /// There is no driver, or none of the cards is one that the kernels run on: what is wrong with the first.
    pub fn open_all() -> Result<(Vec<Self>, Vec<OpenError>), OpenError> {
        let (mut cards, mut refused): (Vec<Self>, Vec<OpenError>) = Default::default();
        for ordinal in 0..Device::count()?.max(1) {
            match Self::open(ordinal) {
                Ok(mut card) => {
                    if let Some(first) = cards.first() {
                        card.ring = Arc::clone(&first.ring);
                    }
                    cards.push(card);
                }
                Err(error) => refused.push(error),
            }
        }
        if cards.is_empty() && !refused.is_empty() {
            return Err(refused.swap_remove(0));
        }
        Ok((cards, refused))
    }

    /// Its number among the visible cards, its name and its place on the bus, as plans and errors name it.
    pub fn label(&self) -> &str {
        self.device.label()
    }

    /// The card's memory, as a plan asks for it.
    pub fn memory(&self) -> (u64, u64) {
        self.device.memory()
    }

    /// What the driver calls the card.
    pub fn name(&self) -> &str {
        self.device.name()
    }

    /// Bytes a second from page-locked memory to the card, measured with a few copies.
    ///
    /// # Errors
    /// The card failed, or has no memory for one copy.
    pub fn link_speed(&self) -> Result<f64, DeviceError> {
        ring::link_speed(&self.device)
    }

    /// Uses these units, whose results have the same bits. Tensor cores that the card lacks are not used.
    pub fn use_units(&mut self, dot: Dot, tensor: bool) {
        self.recordings.clear();
        let cores = modules::Tensor::of(self.device.capability()).filter(|_| tensor);
        self.units = Units::only(dot, cores);
    }

    /// The card's units, with the rates by which they are chosen.
    pub fn units(&self) -> &Units {
        &self.units
    }

    /// Checks the kernels of a model's shapes against their twins.
    ///
    /// # Errors
    /// The device failed.
    pub fn selftest(&mut self, shapes: &Shapes, depth: Depth) -> Result<Vec<Check>, DeviceError> {
        selftest::run(&mut self.device, &self.units, shapes, depth)
    }

    /// The card.
    pub fn device(&mut self) -> &mut Device {
        &mut self.device
    }
}
