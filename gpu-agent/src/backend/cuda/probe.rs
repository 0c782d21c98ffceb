//! The measurement of a card's rates, before a model is loaded.
//!
//! Each rate is measured with more and more work until the card's clock can tell it from the cost of a launch, or until
//! the next step would keep the host waiting: so a card at a two hundredth of its rate, a link of one lane and a card
//! in software are all measured in bounded time. A measurement is of a run and of one twice as long: their difference
//! has no cost of a launch in it.

use std::time::{Duration, Instant};

use super::device::Device;
use super::launch::{Argument, Shape};
use super::modules::{self, Tensor};
use super::rates::Rates;
use crate::backend::error::DeviceError;

/// A run of this many seconds is measured well: the clock of events has half a microsecond (CUDA driver API,
/// `cuEventElapsedTime`).
const ENOUGH_SECONDS: f64 = 250e-6;
/// The longest that a next step may be expected to keep the host waiting. Seven rates of at most five steps stay far
/// below two seconds.
const MOST_WAIT: Duration = Duration::from_millis(20);
/// Threads of a block, two warps for each scheduler of a multiprocessor.
const THREADS: usize = 256;
/// Work of a thread in a round, as `probe.cu` has it.
const WORK: usize = 32;
/// Products of a warp in a round, as `probe-tensor.cu` has them.
const PRODUCTS: usize = 16 * 4_096;
/// Blocks, as shares of the card's multiprocessors, and rounds of each step: one multiprocessor, then all of them.
const STEPS: [(bool, usize); 5] = [(false, 2), (false, 32), (true, 32), (true, 512), (true, 8_192)];
/// Bytes of each step of a copy on the card: the last is larger than any cache of 2026's cards.
const COPIES: [usize; 4] = [1 << 16, 1 << 20, 1 << 24, 1 << 28];
/// Bytes of each step of a copy from the host.
const UPLOADS: [usize; 3] = [1 << 17, 1 << 21, 1 << 25];

/// Measures a card.
///
/// # Errors
/// The device failed.
pub fn measure(device: &mut Device) -> Result<Rates, DeviceError> {
    let tensor = match Tensor::of(device.capability()) {
        None => 0.0,
        Some(cores) => instructions(device, cores.probe(), "probe_tensor", THREADS / 32 * PRODUCTS)?,
    };
    let mut dots = |kernel| instructions(device, modules::PROBE, kernel, THREADS * WORK);
    Ok(Rates {
        dp4a: dots("probe_dp4a")?,
        dp2a: dots("probe_dp2a")?,
        mad: dots("probe_mad")?,
        scale: dots("probe_scale")?,
        tensor,
        memory: copies(device)?,
        link: uploads(device)?,
    })
}

/// Operations a second of the whole card; `work`: those of a block in one round.
#[expect(clippy::cast_precision_loss, reason = "a rate")]
fn instructions(
    device: &mut Device,
    module: &str,
    kernel: &'static str,
    work: usize,
) -> Result<f64, DeviceError> {
    let multiprocessors = device.multiprocessors();
    let out = device.room(multiprocessors * THREADS * 4, "a measurement's results")?;
    let steps = STEPS.map(|(all, rounds)| (if all { multiprocessors } else { 1 }, rounds));
    let seconds = grow(&steps.map(|(blocks, rounds)| blocks * rounds), |step, times| {
        let (blocks, rounds) = steps[step];
        let rounds = i32::try_from(rounds * times).unwrap_or(i32::MAX);
        let arguments = [Argument::from(rounds), Argument::from(out.address())];
        let shape = Shape::threads(blocks, THREADS);
        device.time(|device| device.launch(module, kernel, shape, &arguments))
    })?;
    let (blocks, rounds) = steps[seconds.step];
    let of_card = multiprocessors as f64 / blocks as f64;
    Ok((work * blocks * rounds) as f64 * of_card / seconds.seconds)
}

/// Bytes a second that the card's memory reads and writes.
#[expect(clippy::cast_precision_loss, reason = "a rate")]
fn copies(device: &mut Device) -> Result<f64, DeviceError> {
    let most = device.memory().0 / 4;
    let fitting = COPIES.iter().filter(|bytes| **bytes as u64 <= most).count();
    let sizes = &COPIES[..fitting.max(1)];
    let mut buffers: Option<[super::device::Buffer; 2]> = None;
    let found = grow(sizes, |step, times| {
        if buffers
            .as_ref()
            .is_none_or(|[from, _]| from.bytes() != sizes[step])
        {
            buffers = None;
            buffers = Some([
                device.room(sizes[step], "a measurement of memory")?,
                device.room(sizes[step], "a measurement of memory")?,
            ]);
        }
        let Some([from, to]) = &mut buffers else {
            return Ok(0.0);
        };
        device.time(|device| (0..times).try_for_each(|_| device.copy(from, to)))
    })?;
    Ok(2.0 * sizes[found.step] as f64 / found.seconds)
}

/// Bytes a second from the host.
#[expect(clippy::cast_precision_loss, reason = "a rate")]
fn uploads(device: &mut Device) -> Result<f64, DeviceError> {
    let mut room = None;
    let most = device.memory().0 / 4;
    let fitting = UPLOADS.iter().filter(|bytes| **bytes as u64 <= most).count();
    let found = grow(&UPLOADS[..fitting.max(1)], |step, times| {
        if room
            .as_ref()
            .is_none_or(|(to, _): &(super::device::Buffer, _)| to.bytes() != UPLOADS[step])
        {
            room = None;
            let to = device.room(UPLOADS[step], "a measurement of the link")?;
            room = Some((to, device.pinned(UPLOADS[step])?));
        }
        let Some((to, from)) = &mut room else {
            return Ok(0.0);
        };
        device.time(|device| (0..times).try_for_each(|_| device.start_upload(from, 0..UPLOADS[step], to, 0)))
    })?;
    Ok(UPLOADS[found.step] as f64 / found.seconds)
}

/// How far a measurement came.
struct Found {
    /// Which step's work.
    step: usize,
    /// What that work takes.
    seconds: f64,
}

/// Measures step after step of growing work until it is enough. `time` gives the seconds of a step's work done so many
/// times.
#[expect(clippy::cast_precision_loss, reason = "a ratio of amounts of work")]
fn grow(
    work: &[usize],
    mut time: impl FnMut(usize, usize) -> Result<f64, DeviceError>,
) -> Result<Found, DeviceError> {
    let mut step = 0;
    loop {
        let once = time(step, 1)?;
        let begun = Instant::now();
        let twice = time(step, 2)?;
        let waited = begun.elapsed();
        let next = work.get(step + 1).map(|more| *more as f64 / work[step] as f64);
        match next {
            Some(ratio) if twice < ENOUGH_SECONDS && waited.mul_f64(ratio) < MOST_WAIT => step += 1,
            _ => {
                // A clock that jumped leaves no difference.
                let seconds = if twice > once { twice - once } else { twice / 2.0 };
                return Ok(Found {
                    step,
                    seconds: seconds.max(f64::MIN_POSITIVE),
                });
            }
        }
    }
}

#[cfg(test)]
#[expect(clippy::cast_precision_loss, reason = "small numbers")]
mod tests {
    use super::*;

    #[test]
    fn a_measurement_grows_until_the_clock_can_tell_it_from_a_launch() {
        // A microsecond of work each, and 5 of launch.
        let time = |step: usize, times: usize| Ok(5e-6 + [1e-6, 1e-5, 1e-3, 1.0][step] * times as f64);
        let found = grow(&[1, 10, 1_000, 1_000_000], time).unwrap();
        assert_eq!(found.step, 2);
        assert!((found.seconds - 1e-3).abs() < 1e-9);
    }

    #[test]
    fn a_host_that_would_wait_too_long_ends_it() {
        let found = grow(&[1, 1_000_000], |_, times| {
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_micros(100) {}
            Ok(1e-6 * times as f64)
        });
        let found = found.unwrap();
        assert_eq!(found.step, 0);
        assert!((found.seconds - 1e-6).abs() < 1e-12);
    }
}
