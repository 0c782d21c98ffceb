//! Rotation, the paged cache, and attention over it.

use half::f16;

use super::Depth;
use super::bench::{Bench, difference};
use super::random::Random;
use super::scene::{BLOCK, Scene, UNWRITTEN, place};
use crate::backend::arithmetic::{rms_norm, rotate_pair};
use crate::backend::cuda::launch::{Activations, CHUNK, Shape, arguments, attend_chunk_kernel, int};
use crate::backend::cuda::modules;
use crate::backend::error::DeviceError;
use crate::backend::ops::{Attention, RopePairs, Rotation};

const EPSILON: f32 = 1e-6;

#[derive(Clone, Copy)]
struct OnCard {
    queries: u64,
    keys: u64,
    values: u64,
    positions: u64,
    tables: u64,
    offsets: u64,
    starts: u64,
}

fn bring(bench: &mut Bench<'_>, scene: &Scene) -> Result<OnCard, DeviceError> {
    Ok(OnCard {
        queries: bench.upload(&scene.queries)?,
        keys: bench.upload(&scene.caches[0])?,
        values: bench.upload(&scene.caches[1])?,
        positions: bench.upload(&scene.positions)?,
        tables: bench.upload(&scene.tables)?,
        offsets: bench.upload(&scene.offsets)?,
        starts: bench.upload(&scene.starts)?,
    })
}

fn describe(attention: &Attention) -> String {
    let Attention {
        heads,
        kv_heads,
        head_size,
        window,
        ..
    } = attention;
    let window = window.map_or(String::new(), |window| format!(", window {window}"));
    format!("{heads} heads of {head_size} with {kv_heads} key heads{window}")
}

/// `attend_chunk_*` and `attend_combine`: one new token a sequence, at the ends of blocks and of chunks.
pub(super) fn decode(bench: &mut Bench<'_>, attention: Attention, depth: Depth) -> Result<(), DeviceError> {
    let lengths = match depth {
        Depth::Quick => &[1, CHUNK + 1][..],
        Depth::Full => &[1, BLOCK, BLOCK + 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 22],
    };
    let sequences: Vec<(usize, usize)> = lengths.iter().map(|length| (*length, 1)).collect();
    let (items, longest) = (sequences.len(), lengths.iter().copied().max().unwrap_or(1));
    let scene = Scene::new(attention, sequences);
    let (of, at) = (&scene.attention, bring(bench, &scene)?);
    let (group, chunks) = (of.heads / of.kv_heads, longest.div_ceil(CHUNK));
    let rows = bench.upload(&(0..).take(items).collect::<Vec<u32>>())?;
    let count = items * of.heads * chunks;
    let sums = bench.reserve::<f32>(count * of.head_size)?;
    let stats = bench.reserve::<f32>(count * 2)?;
    let out = bench.reserve::<f32>(scene.queries.len())?;
    let faults = bench.upload(&vec![0u32; items])?;
    let [heads, kv_heads, size, window, many] = [
        of.heads,
        of.kv_heads,
        of.head_size,
        of.window.unwrap_or(0),
        chunks,
    ]
    .map(int);
    let cap = of.soft_cap.unwrap_or(0.0);
    let arguments = arguments![
        at.queries,
        heads,
        kv_heads,
        size,
        at.keys,
        at.values,
        rows,
        rows,
        at.positions,
        at.tables,
        at.offsets,
        window,
        of.scale,
        cap,
        many,
        sums,
        stats
    ];
    let shape = Shape::attend_chunk(items, of.kv_heads, group, of.head_size, chunks);
    let kernel = attend_chunk_kernel(group);
    bench.run(modules::ATTENTION, kernel, shape, arguments)?;
    let nowhere = Activations::default();
    let arguments = arguments![
        heads,
        size,
        rows,
        at.positions,
        window,
        many,
        sums,
        stats,
        out,
        nowhere,
        faults
    ];
    let shape = Shape::attend_combine(items, of.heads, of.head_size);
    bench.run(modules::ATTENTION, "attend_combine", shape, arguments)?;
    let found = difference(&bench.download(out, scene.queries.len())?, &scene.expected());
    let name = format!("{kernel}, attend_combine");
    bench.note(modules::ATTENTION, &name, describe(of), found);
    bench.clear();
    Ok(())
}

/// `attend_rows`: many new tokens a sequence.
pub(super) fn prefill(bench: &mut Bench<'_>, attention: Attention, depth: Depth) -> Result<(), DeviceError> {
    let sequences = match depth {
        Depth::Quick => vec![(CHUNK + 2, 3)],
        Depth::Full => vec![(20, 20), (CHUNK + 6, 6), (2 * CHUNK + 1, 1)],
    };
    let scene = Scene::new(attention, sequences);
    let (of, at) = (&scene.attention, bring(bench, &scene)?);
    let tiles = scene.tiles();
    let out = bench.reserve::<f32>(scene.queries.len())?;
    let listed = bench.upload(&tiles)?;
    let [heads, kv_heads, size, window] =
        [of.heads, of.kv_heads, of.head_size, of.window.unwrap_or(0)].map(int);
    let cap = of.soft_cap.unwrap_or(0.0);
    let arguments = arguments![
        at.queries,
        heads,
        kv_heads,
        size,
        at.keys,
        at.values,
        listed,
        at.starts,
        at.positions,
        at.tables,
        at.offsets,
        window,
        of.scale,
        cap,
        out
    ];
    let shape = Shape::attend_rows(tiles.len() / 2, of.kv_heads, of.head_size);
    bench.run(modules::ATTENTION, "attend_rows", shape, arguments)?;
    let found = difference(&bench.download(out, scene.queries.len())?, &scene.expected());
    bench.note(modules::ATTENTION, "attend_rows", describe(of), found);
    bench.clear();
    Ok(())
}

/// `rotate_store`: queries rotated in place, keys and values in the cache.
pub(super) fn rotate(
    bench: &mut Bench<'_>,
    rotation: Rotation,
    norms: bool,
    (heads, kv_heads): (usize, usize),
) -> Result<(), DeviceError> {
    let size = rotation.head_size;
    let mut random = Random::new(30);
    let positions = [0u32, 1, 9];
    // Places in blocks that are not in order.
    let slots = [35u32, 0, 17];
    let rows = positions.len();
    let angles: Vec<f32> = (0..10 * rotation.size).map(|_| random.float()).collect();
    let mut queries = random.floats(rows * heads * size);
    let mut keys = random.floats(rows * kv_heads * size);
    let values = random.floats(rows * kv_heads * size);
    let weights = [0, 1].map(|_| random.floats(size));
    let on_card = bench.upload(&queries)?;
    let inputs = [bench.upload(&keys)?, bench.upload(&values)?];
    let [query_norm, key_norm] = if norms {
        [bench.upload(&weights[0])?, bench.upload(&weights[1])?]
    } else {
        [0, 0]
    };
    let cells = 3 * BLOCK * kv_heads * size;
    let caches = [
        bench.upload(&vec![UNWRITTEN; cells])?,
        bench.upload(&vec![UNWRITTEN; cells])?,
    ];
    let places = [
        bench.upload(&angles)?,
        bench.upload(&positions)?,
        bench.upload(&slots)?,
    ];
    let faults = bench.upload(&[0u32; 3])?;
    let halves = i32::from(rotation.pairs == RopePairs::Halves);
    let [query_heads, key_heads, elements, turned] = [heads, kv_heads, size, rotation.size].map(int);
    let arguments = arguments![
        on_card,
        inputs[0],
        inputs[1],
        query_heads,
        key_heads,
        elements,
        query_norm,
        key_norm,
        EPSILON,
        places[0],
        turned,
        halves,
        places[1],
        places[2],
        caches[0],
        caches[1],
        faults
    ];
    let shape = Shape::rotate(rows, heads + 2 * kv_heads, size);
    bench.run(modules::ATTENTION, "rotate_store", shape, arguments)?;
    for (tensor, weight, count) in [
        (&mut queries, &weights[0], heads),
        (&mut keys, &weights[1], kv_heads),
    ] {
        for (at, head) in tensor.chunks_mut(size).enumerate() {
            let angles = &angles[positions[at / count] as usize * rotation.size..];
            turn(rotation, norms.then_some(weight.as_slice()), head, angles);
        }
    }
    let mut found = difference(&bench.download(on_card, queries.len())?, &queries);
    for (cache, tensor, is_value) in [(caches[0], &keys, false), (caches[1], &values, true)] {
        let mut expected = vec![UNWRITTEN; cells];
        for (at, value) in tensor.iter().enumerate() {
            let (row, head, element) = (at / size / kv_heads, at / size % kv_heads, at % size);
            let slot = slots[row] as usize;
            let block = (slot / BLOCK * kv_heads + head) * BLOCK * size;
            expected[block + place(size, slot % BLOCK, element, is_value)] = f16::from_f32(*value).to_bits();
        }
        if bench.download::<u16>(cache, cells)? != expected {
            found.get_or_insert_with(|| format!("the cache differs, values: {is_value}"));
        }
    }
    let what = format!("{heads} and {kv_heads} heads of {size}, norms: {norms}");
    bench.note(modules::ATTENTION, "rotate_store", what, found);
    bench.clear();
    Ok(())
}

fn turn(rotation: Rotation, norm: Option<&[f32]>, head: &mut [f32], angles: &[f32]) {
    if let Some(norm) = norm {
        let x = head.to_vec();
        rms_norm(&x, norm, EPSILON, head);
    }
    for pair in 0..rotation.size / 2 {
        let (a, b) = match rotation.pairs {
            RopePairs::Halves => (pair, pair + rotation.size / 2),
            RopePairs::Adjacent => (2 * pair, 2 * pair + 1),
        };
        (head[a], head[b]) = rotate_pair(head[a], head[b], angles[2 * pair], angles[2 * pair + 1]);
    }
}
