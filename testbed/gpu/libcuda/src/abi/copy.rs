//! Copies and fills.

use std::sync::Arc;

use serde::Serialize;

use super::guard::{In, export};
use crate::driver::Driver;
use crate::error::{Code, Result};
use crate::log;
use crate::memory::copy::{Copy, Fill, Place};
use crate::stream::capture;
use crate::stream::work::Work;

/// Where the host's end of a copy lies. A card's address is not one, though it may look so.
pub fn host_place(driver: &Driver, address: usize, bytes: usize, what: &str) -> Result<Place> {
    if address == 0 {
        return Err(log::refuse(
            Code::INVALID_VALUE,
            &format!("{what}: the host's address is null"),
        ));
    }
    let held = driver
        .allocations
        .holder(address as u64)
        .filter(|found| found.host().is_none());
    if held.is_some() && bytes > 0 {
        return Err(log::refuse(
            Code::INVALID_VALUE,
            &format!(
                "{what}: {address:#x} is an address of device memory where one of host memory is wanted"
            ),
        ));
    }
    Ok(Place::Host(address))
}

/// A place by its address alone: memory that the driver knows, or any memory of the host.
fn any_place(driver: &Driver, address: u64, bytes: usize, what: &str) -> Result<Place> {
    if driver.allocations.holder(address).is_some() || looks_like_a_card(driver, address) {
        return driver.allocations.place(address, bytes as u64, what);
    }
    host_place(
        driver,
        usize::try_from(address).map_err(|_| Code::INVALID_VALUE)?,
        bytes,
        what,
    )
}

/// Whether an address is one that cards give out, live or not.
fn looks_like_a_card(driver: &Driver, address: u64) -> bool {
    address < testbed_ptx::GLOBAL_BASE
        || driver
            .devices
            .iter()
            .any(|card| card.addresses.contains(&address))
}

/// Records a copy that is submitted: which card or which kind of the host's memory is at its ends.
fn record(driver: &Driver, copy: &Copy, stream: u64) {
    #[derive(Serialize)]
    struct Submitted {
        event: &'static str,
        pid: u32,
        from: String,
        to: String,
        bytes: usize,
        stream: u64,
    }
    if !log::wanted() {
        return;
    }
    let end = |place: &Place| match place {
        Place::Device(device, _) => format!("device {}", device.ordinal),
        Place::Host(_) if is_pageable(driver, place) => "pageable".to_owned(),
        Place::Host(_) | Place::Staged(..) => "page-locked".to_owned(),
    };
    log::record(&Submitted {
        event: "copy",
        pid: std::process::id(),
        from: end(&copy.from),
        to: end(&copy.to),
        bytes: copy.width * copy.rows,
        stream,
    });
}

/// Whether it is memory of the host that the driver does not know, which a card cannot read by itself.
fn is_pageable(driver: &Driver, place: &Place) -> bool {
    match place {
        Place::Host(address) => driver.allocations.holder(*address as u64).is_none(),
        Place::Device(..) | Place::Staged(..) => false,
    }
}

/// Copies now: refused where a capture would have to wait for it.
fn now(driver: &Driver, work: Work, what: &str) -> Result<()> {
    let context = driver.current()?;
    capture::forbid_implicit(context.handle)?;
    capture::forbid_unsafe(what)?;
    let stream = context.legacy();
    if let Work::Copy(copy) = &work {
        record(driver, copy, stream.handle);
    }
    driver.submit(stream, work)?;
    driver.synchronize(stream)
}

/// Copies in a stream's order. Memory of the host that is not page-locked is the caller's again when the call returns.
fn later(driver: &Driver, copy: Copy, stream: u64) -> Result<()> {
    let stream = driver.stream(stream)?;
    if copy.width == 0 || copy.rows == 0 {
        return Ok(());
    }
    record(driver, &copy, stream.handle);
    if stream.capture().is_some() {
        return driver.submit(&stream, Work::Copy(copy));
    }
    let (takes, waits) = (is_pageable(driver, &copy.from), is_pageable(driver, &copy.to));
    driver.submit_copy(&stream, copy, takes, waits)
}

fn to_card(driver: &Driver, to: u64, from: usize, bytes: usize, what: &str) -> Result<Copy> {
    driver.current()?;
    if bytes == 0 {
        return Ok(Copy::linear(Place::Host(0), Place::Host(0), 0));
    }
    let to = driver.allocations.place(to, bytes as u64, what)?;
    Ok(Copy::linear(to, host_place(driver, from, bytes, what)?, bytes))
}

fn to_host(driver: &Driver, to: usize, from: u64, bytes: usize, what: &str) -> Result<Copy> {
    driver.current()?;
    if bytes == 0 {
        return Ok(Copy::linear(Place::Host(0), Place::Host(0), 0));
    }
    let from = driver.allocations.place(from, bytes as u64, what)?;
    Ok(Copy::linear(host_place(driver, to, bytes, what)?, from, bytes))
}

fn between_cards(driver: &Driver, to: u64, from: u64, bytes: usize, what: &str) -> Result<Copy> {
    driver.current()?;
    if bytes == 0 {
        return Ok(Copy::linear(Place::Host(0), Place::Host(0), 0));
    }
    let place = |address| driver.allocations.place(address, bytes as u64, what);
    Ok(Copy::linear(place(to)?, place(from)?, bytes))
}

fn between_any(driver: &Driver, to: u64, from: u64, bytes: usize, what: &str) -> Result<Copy> {
    driver.current()?;
    if bytes == 0 {
        return Ok(Copy::linear(Place::Host(0), Place::Host(0), 0));
    }
    Ok(Copy::linear(
        any_place(driver, to, bytes, what)?,
        any_place(driver, from, bytes, what)?,
        bytes,
    ))
}

fn peers(driver: &Driver, to: (u64, u64), from: (u64, u64), bytes: usize, what: &str) -> Result<Copy> {
    for context in [to.1, from.1] {
        driver.context(context)?;
    }
    between_cards(driver, to.0, from.0, bytes, what)
}

/// `CUDA_MEMCPY2D`: one end is offset, row, type, host, device, array, pitch.
#[repr(C)]
#[derive(Clone, Copy)]
struct Copy2d {
    from: End2d,
    to: End2d,
    width: usize,
    height: usize,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct End2d {
    x: usize,
    y: usize,
    kind: u32,
    host: usize,
    device: u64,
    array: u64,
    pitch: usize,
}

/// Types of memory in a copy of rows.
const HOST: u32 = 1;
const DEVICE: u32 = 2;
const UNIFIED: u32 = 4;

impl Copy2d {
    fn copy(&self, driver: &Driver, what: &str) -> Result<Copy> {
        driver.current()?;
        if self.width == 0 || self.height == 0 {
            return Ok(Copy::linear(Place::Host(0), Place::Host(0), 0));
        }
        Ok(Copy {
            to: self.end(driver, &self.to, what)?,
            from: self.end(driver, &self.from, what)?,
            width: self.width,
            rows: self.height,
            to_pitch: self.to.pitch.max(self.width),
            from_pitch: self.from.pitch.max(self.width),
        })
    }

    fn end(&self, driver: &Driver, end: &End2d, what: &str) -> Result<Place> {
        // A pitch of 0 means rows without gaps; another one must hold a row.
        if end.pitch != 0 && end.x.checked_add(self.width).is_none_or(|row| row > end.pitch) {
            return Err(Code::INVALID_VALUE);
        }
        let pitch = end.pitch.max(self.width);
        let start = end
            .y
            .checked_mul(pitch)
            .and_then(|start| start.checked_add(end.x))
            .ok_or(Code::INVALID_VALUE)?;
        let rows = (self.height - 1)
            .checked_mul(pitch)
            .and_then(|rows| rows.checked_add(self.width));
        let bytes = rows.ok_or(Code::INVALID_VALUE)?;
        match end.kind {
            HOST => host_place(driver, end.host.wrapping_add(start), bytes, what),
            DEVICE => driver
                .allocations
                .place(end.device.wrapping_add(start as u64), bytes as u64, what),
            UNIFIED => any_place(driver, end.device.wrapping_add(start as u64), bytes, what),
            _ => Err(log::refuse(
                Code::NOT_SUPPORTED,
                &format!("{what}: arrays are for textures, which there are none"),
            )),
        }
    }
}

/// A fill of `height` rows of `width` values.
pub fn fill(
    driver: &Driver,
    to: u64,
    value: &[u8],
    pitch: usize,
    width: usize,
    height: usize,
) -> Result<Fill> {
    let row = width.checked_mul(value.len()).ok_or(Code::INVALID_VALUE)?;
    let pitch = if height > 1 { pitch } else { row };
    if pitch < row || !to.is_multiple_of(value.len() as u64) || !pitch.is_multiple_of(value.len()) {
        return Err(Code::INVALID_VALUE);
    }
    if row == 0 || height == 0 {
        return Ok(Fill {
            to: Place::Host(0),
            value: value.to_vec(),
            width: 0,
            rows: 0,
            pitch: 0,
        });
    }
    let bytes = (height - 1)
        .checked_mul(pitch)
        .and_then(|rows| rows.checked_add(row))
        .ok_or(Code::INVALID_VALUE)?;
    let to = driver.allocations.place(to, bytes as u64, "memset")?;
    Ok(Fill {
        to,
        value: value.to_vec(),
        width,
        rows: height,
        pitch,
    })
}

fn fill_now(driver: &Driver, to: u64, value: &[u8], pitch: usize, width: usize, height: usize) -> Result<()> {
    driver.current()?;
    now(
        driver,
        Work::Fill(fill(driver, to, value, pitch, width, height)?),
        "a synchronous memset",
    )
}

fn fill_later(driver: &Driver, to: u64, value: &[u8], rows: [usize; 3], stream: u64) -> Result<()> {
    let stream: Arc<_> = driver.stream(stream)?;
    let [pitch, width, height] = rows;
    driver.submit(
        &stream,
        Work::Fill(fill(driver, to, value, pitch, width, height)?),
    )
}

export! {
    enter cuMemcpy(to: u64, from: u64, bytes: usize) |driver| {
        now(driver, Work::Copy(between_any(driver, to, from, bytes, "cuMemcpy")?), "cuMemcpy")
    }

    enter cuMemcpyAsync(to: u64, from: u64, bytes: usize, stream: u64) |driver| {
        later(driver, between_any(driver, to, from, bytes, "cuMemcpyAsync")?, stream)
    }

    enter cuMemcpyHtoD_v2(to: u64, from: usize, bytes: usize) |driver| {
        now(driver, Work::Copy(to_card(driver, to, from, bytes, "cuMemcpyHtoD")?), "cuMemcpyHtoD")
    }

    enter cuMemcpyHtoDAsync_v2(to: u64, from: usize, bytes: usize, stream: u64) |driver| {
        later(driver, to_card(driver, to, from, bytes, "cuMemcpyHtoDAsync")?, stream)
    }

    enter cuMemcpyDtoH_v2(to: usize, from: u64, bytes: usize) |driver| {
        now(driver, Work::Copy(to_host(driver, to, from, bytes, "cuMemcpyDtoH")?), "cuMemcpyDtoH")
    }

    enter cuMemcpyDtoHAsync_v2(to: usize, from: u64, bytes: usize, stream: u64) |driver| {
        later(driver, to_host(driver, to, from, bytes, "cuMemcpyDtoHAsync")?, stream)
    }

    enter cuMemcpyDtoD_v2(to: u64, from: u64, bytes: usize) |driver| {
        now(driver, Work::Copy(between_cards(driver, to, from, bytes, "cuMemcpyDtoD")?), "cuMemcpyDtoD")
    }

    enter cuMemcpyDtoDAsync_v2(to: u64, from: u64, bytes: usize, stream: u64) |driver| {
        later(driver, between_cards(driver, to, from, bytes, "cuMemcpyDtoDAsync")?, stream)
    }

    enter cuMemcpyPeer(to: u64, to_context: u64, from: u64, from_context: u64, bytes: usize) |driver| {
        let copy = peers(driver, (to, to_context), (from, from_context), bytes, "cuMemcpyPeer")?;
        now(driver, Work::Copy(copy), "cuMemcpyPeer")
    }

    enter cuMemcpyPeerAsync(to: u64, to_context: u64, from: u64, from_context: u64, bytes: usize, stream: u64) |driver| {
        later(driver, peers(driver, (to, to_context), (from, from_context), bytes, "cuMemcpyPeerAsync")?, stream)
    }

    enter cuMemcpy2D_v2(copy: In<Copy2d>) |driver| {
        now(driver, Work::Copy(copy.get()?.copy(driver, "cuMemcpy2D")?), "cuMemcpy2D")
    }

    enter cuMemcpy2DUnaligned_v2(copy: In<Copy2d>) |driver| {
        now(driver, Work::Copy(copy.get()?.copy(driver, "cuMemcpy2DUnaligned")?), "cuMemcpy2DUnaligned")
    }

    enter cuMemcpy2DAsync_v2(copy: In<Copy2d>, stream: u64) |driver| {
        later(driver, copy.get()?.copy(driver, "cuMemcpy2DAsync")?, stream)
    }

    enter cuMemsetD8_v2(to: u64, value: u8, count: usize) |driver| { fill_now(driver, to, &[value], 0, count, 1) }

    enter cuMemsetD16_v2(to: u64, value: u16, count: usize) |driver| {
        fill_now(driver, to, &value.to_le_bytes(), 0, count, 1)
    }

    enter cuMemsetD32_v2(to: u64, value: u32, count: usize) |driver| {
        fill_now(driver, to, &value.to_le_bytes(), 0, count, 1)
    }

    enter cuMemsetD2D8_v2(to: u64, pitch: usize, value: u8, width: usize, height: usize) |driver| {
        fill_now(driver, to, &[value], pitch, width, height)
    }

    enter cuMemsetD2D16_v2(to: u64, pitch: usize, value: u16, width: usize, height: usize) |driver| {
        fill_now(driver, to, &value.to_le_bytes(), pitch, width, height)
    }

    enter cuMemsetD2D32_v2(to: u64, pitch: usize, value: u32, width: usize, height: usize) |driver| {
        fill_now(driver, to, &value.to_le_bytes(), pitch, width, height)
    }

    enter cuMemsetD8Async(to: u64, value: u8, count: usize, stream: u64) |driver| {
        fill_later(driver, to, &[value], [0, count, 1], stream)
    }

    enter cuMemsetD16Async(to: u64, value: u16, count: usize, stream: u64) |driver| {
        fill_later(driver, to, &value.to_le_bytes(), [0, count, 1], stream)
    }

    enter cuMemsetD32Async(to: u64, value: u32, count: usize, stream: u64) |driver| {
        fill_later(driver, to, &value.to_le_bytes(), [0, count, 1], stream)
    }

    enter cuMemsetD2D8Async(to: u64, pitch: usize, value: u8, width: usize, height: usize, stream: u64) |driver| {
        fill_later(driver, to, &[value], [pitch, width, height], stream)
    }

    enter cuMemsetD2D16Async(to: u64, pitch: usize, value: u16, width: usize, height: usize, stream: u64) |driver| {
        fill_later(driver, to, &value.to_le_bytes(), [pitch, width, height], stream)
    }

    enter cuMemsetD2D32Async(to: u64, pitch: usize, value: u32, width: usize, height: usize, stream: u64) |driver| {
        fill_later(driver, to, &value.to_le_bytes(), [pitch, width, height], stream)
    }
}
