//! Rotation, the paged cache, and attention over it.

use gpu_agent::backend::arithmetic::{self, rms_norm, rotate_pair};
use gpu_agent::backend::cuda::launch::{Activations, CHUNK, Shape, attend_chunk_kernel};
use gpu_agent::backend::cuda::selftest::scene::{self, BLOCK, UNWRITTEN, place};
use gpu_agent::backend::ops::Attention;
use half::f16;
use testbed_ptx::{Fault, Module};

use crate::arguments;
use crate::card::{Card, assert_bits, ptx};
use crate::product::{assert_groups, download, int, reserve};
use crate::random::Random;

pub const MODULE: &str = "attention.sm_61";
const EPSILON: f32 = 1e-6;

/// Sequences with keys and values in a paged cache, and queries for their last positions.
pub struct Scene {
    pub heads: usize,
    pub kv_heads: usize,
    pub size: usize,
    /// Tokens of each sequence, and how many of them are new.
    pub sequences: Vec<(usize, usize)>,
    pub window: usize,
    pub cap: f32,
}

/// A scene on a card.
pub struct Staged {
    scene: scene::Scene,
    on_card: OnCard,
}

impl Staged {
    /// What the twin says, `[rows, heads * size]`.
    pub fn expected(&self) -> Vec<f32> {
        self.scene.expected()
    }
}

struct OnCard {
    queries: u64,
    keys: u64,
    values: u64,
    positions: u64,
    tables: u64,
    offsets: u64,
    starts: u64,
}

impl Scene {
    fn rows(&self) -> usize {
        self.sequences.iter().map(|(_, new)| new).sum()
    }

    fn group(&self) -> usize {
        self.heads / self.kv_heads
    }

    fn scale(&self) -> f32 {
        1.0 / f32::from(u16::try_from(self.size).expect("small")).sqrt()
    }

    fn attention(&self) -> Attention {
        Attention {
            heads: self.heads,
            kv_heads: self.kv_heads,
            head_size: self.size,
            scale: self.scale(),
            window: (self.window > 0).then_some(self.window),
            soft_cap: (self.cap > 0.0).then_some(self.cap),
        }
    }

    /// Leaves every place of the cache that no token has unwritten, so that a kernel that reads one is stopped.
    pub fn stage(&self, card: &Card) -> Staged {
        let scene = scene::Scene::new(self.attention(), self.sequences.clone());
        let [keys, values] = scene.caches.each_ref().map(|cache| {
            let on_card = card.reserve::<u16>(cache.len());
            let written = cache.iter().enumerate().filter(|(_, half)| **half != UNWRITTEN);
            for (index, half) in written {
                card.write(on_card + 2 * index as u64, &half.to_le_bytes());
            }
            on_card
        });
        Staged {
            on_card: OnCard {
                queries: card.upload(&scene.queries),
                keys,
                values,
                positions: card.upload(&scene.positions),
                tables: card.upload(&scene.tables),
                offsets: card.upload(&scene.offsets),
                starts: card.upload(&scene.starts),
            },
            scene,
        }
    }

    /// By chunks that are combined, one query row a sequence.
    pub fn decode(&self, card: &Card, module: &Module, staged: &Staged) -> Result<Vec<f32>, Box<Fault>> {
        let OnCard {
            queries,
            keys,
            values,
            positions,
            tables,
            offsets,
            ..
        } = staged.on_card;
        let items = self.sequences.len();
        let rows: Vec<u32> = (0..).take(items).collect();
        let (rows, sequences) = (card.upload(&rows), card.upload(&rows));
        let longest = self.sequences.iter().map(|(length, _)| *length).max();
        // One more than any of them has, as a recorded graph launches.
        let chunks = longest.expect("a sequence").div_ceil(CHUNK) + 1;
        let count = items * self.heads * chunks;
        let (sums, stats) = (
            card.reserve::<f32>(count * self.size),
            card.reserve::<f32>(count * 2),
        );
        let arguments = arguments![
            queries,
            int(self.heads),
            int(self.kv_heads),
            int(self.size),
            keys,
            values,
            rows,
            sequences,
            positions,
            tables,
            offsets,
            int(self.window),
            self.scale(),
            self.cap,
            int(chunks),
            sums,
            stats
        ];
        let shape = Shape::attend_chunk(items, self.kv_heads, self.group(), self.size, chunks);
        card.try_run(module, attend_chunk_kernel(self.group()), shape, arguments)?;
        let out = card.reserve::<f32>(items * self.heads * self.size);
        let faults = card.upload(&vec![0u32; items]);
        let combine = |out: u64, to: Activations| {
            let arguments = arguments![
                int(self.heads),
                int(self.size),
                rows,
                positions,
                int(self.window),
                int(chunks),
                sums,
                stats,
                out,
                to,
                faults
            ];
            let shape = Shape::attend_combine(items, self.heads, self.size);
            card.try_run(module, "attend_combine", shape, arguments)
        };
        combine(out, Activations::default())?;
        let floats: Vec<f32> = card.download(out, items * self.heads * self.size);
        if self.size.is_multiple_of(32) {
            let to = reserve(card, floats.len() / 32, true);
            combine(0, to)?;
            let expected: Vec<_> = floats
                .chunks(32)
                .map(|group| arithmetic::quantise(group, true))
                .collect();
            assert_groups(
                &download(card, to, floats.len() / 32),
                &expected,
                "quantised heads",
            );
        }
        Ok(floats)
    }

    /// By tiles of queries, any number of rows a sequence.
    pub fn prefill(&self, card: &Card, module: &Module, staged: &Staged) -> Result<Vec<f32>, Box<Fault>> {
        let OnCard {
            queries,
            keys,
            values,
            positions,
            tables,
            offsets,
            starts,
        } = staged.on_card;
        let tiles = staged.scene.tiles();
        let out = card.reserve::<f32>(self.rows() * self.heads * self.size);
        let arguments = arguments![
            queries,
            int(self.heads),
            int(self.kv_heads),
            int(self.size),
            keys,
            values,
            card.upload(&tiles),
            starts,
            positions,
            tables,
            offsets,
            int(self.window),
            self.scale(),
            self.cap,
            out
        ];
        let shape = Shape::attend_rows(tiles.len() / 2, self.kv_heads, self.size);
        card.try_run(module, "attend_rows", shape, arguments)?;
        Ok(card.download(out, self.rows() * self.heads * self.size))
    }
}

fn decode(scene: &Scene) {
    let card = Card::new(61);
    let module = card.module(&ptx(MODULE));
    let staged = scene.stage(&card);
    let got = scene
        .decode(&card, &module, &staged)
        .unwrap_or_else(|fault| panic!("{fault}"));
    let what = format!("{} of {} heads of {}", scene.kv_heads, scene.heads, scene.size);
    assert_bits(&got, &staged.expected(), &what);
}

fn prefill(scene: &Scene) {
    let card = Card::new(61);
    let module = card.module(&ptx(MODULE));
    let staged = scene.stage(&card);
    let got = scene
        .prefill(&card, &module, &staged)
        .unwrap_or_else(|fault| panic!("{fault}"));
    let what = format!("{} of {} heads of {}", scene.kv_heads, scene.heads, scene.size);
    assert_bits(&got, &staged.expected(), &what);
}

/// One token, the ends of blocks and of chunks, and several chunks.
const LENGTHS: [usize; 9] = [1, 15, 16, 17, 63, 64, 65, 128, 150];

#[test]
fn decode_attends_over_every_length_as_its_twin() {
    decode(&Scene {
        heads: 3,
        kv_heads: 1,
        size: 64,
        sequences: LENGTHS.map(|length| (length, 1)).to_vec(),
        window: 0,
        cap: 0.0,
    });
}

#[test]
fn decode_attends_with_one_to_eight_heads_a_group_as_its_twin() {
    for group in 1..=8 {
        decode(&Scene {
            heads: 2 * group,
            kv_heads: 2,
            size: 32,
            sequences: vec![(70, 1), (5, 1)],
            window: 0,
            cap: 0.0,
        });
    }
}

#[test]
fn decode_attends_with_heads_of_every_size_a_window_and_a_cap_as_its_twin() {
    for (size, window, cap) in [(8, 0, 0.0), (80, 40, 0.0), (128, 64, 5.0), (256, 1, 30.0)] {
        decode(&Scene {
            heads: 4,
            kv_heads: 2,
            size,
            sequences: vec![(140, 1), (65, 1), (1, 1)],
            window,
            cap,
        });
    }
}

#[test]
fn prefill_attends_over_whole_prompts_and_later_parts_of_them_as_its_twin() {
    prefill(&Scene {
        heads: 3,
        kv_heads: 1,
        size: 64,
        sequences: vec![(70, 70), (1, 1), (130, 7), (66, 20)],
        window: 0,
        cap: 0.0,
    });
}

#[test]
fn prefill_attends_with_one_to_eight_heads_a_group_as_its_twin() {
    for group in 1..=8 {
        prefill(&Scene {
            heads: 2 * group,
            kv_heads: 2,
            size: 32,
            sequences: vec![(66, 6), (9, 9)],
            window: 0,
            cap: 0.0,
        });
    }
}

#[test]
fn prefill_attends_with_heads_of_every_size_a_window_and_a_cap_as_its_twin() {
    for (size, window, cap) in [(8, 0, 0.0), (80, 40, 0.0), (128, 64, 5.0), (256, 1, 30.0)] {
        prefill(&Scene {
            heads: 4,
            kv_heads: 2,
            size,
            sequences: vec![(140, 20), (65, 3)],
            window,
            cap,
        });
    }
}

/// How heads are rotated.
pub struct Rotated {
    pub size: usize,
    pub turned: usize,
    pub pairs: i32,
    pub norm: bool,
}

#[test]
fn heads_are_normalised_rotated_and_stored_as_by_their_twin() {
    for (size, turned, pairs, norm) in [
        (64, 64, 0, false),
        (64, 64, 1, true),
        (80, 32, 1, true),
        (256, 256, 0, true),
    ] {
        rotate(
            &Rotated {
                size,
                turned,
                pairs,
                norm,
            },
            &ptx(MODULE),
        );
    }
}

/// Rotates and stores on a card of its own, which it returns.
pub fn rotate(of: &Rotated, ptx: &str) -> Card {
    let Rotated { size, turned, .. } = *of;
    let (heads, kv_heads) = (3, 2);
    let card = Card::new(61);
    let module = card.module(ptx);
    let mut random = Random::new(30);
    let positions = [0u32, 1, 9, 37];
    // Places in blocks that are not in order; the last is the last place of a block.
    let slots = [35u32, 0, 17, 47];
    let rows = positions.len();
    let angles: Vec<f32> = (0..38 * turned).map(|_| random.float()).collect();
    let mut queries = random.floats(rows * heads * size);
    let mut keys = random.floats(rows * kv_heads * size);
    let mut values = random.floats(rows * kv_heads * size);
    let norms = [0, 1].map(|_| random.floats(size));
    // The last row has a value that a half rounds to infinity, and the one before it the largest that it does not.
    let at = values.len() - 1;
    (values[at - kv_heads * size], values[at]) = (65_519.0, -65_520.0);
    let faults = card.upload(&[0u32; 4]);
    let on_card = card.upload(&queries);
    let cache = [0, 1].map(|_| card.upload(&vec![UNWRITTEN; 3 * BLOCK * kv_heads * size]));
    let [query_norm, key_norm] = norms
        .each_ref()
        .map(|norm| if of.norm { card.upload(norm) } else { 0 });
    let arguments = arguments![
        on_card,
        card.upload(&keys),
        card.upload(&values),
        int(heads),
        int(kv_heads),
        int(size),
        query_norm,
        key_norm,
        EPSILON,
        card.upload(&angles),
        int(turned),
        of.pairs,
        card.upload(&positions),
        card.upload(&slots),
        cache[0],
        cache[1],
        faults
    ];
    let shape = Shape::rotate(rows, heads + 2 * kv_heads, size);
    card.run(&module, "rotate_store", shape, arguments);
    assert_eq!(card.download::<u32>(faults, rows), [0, 0, 0, 1]);

    for (tensor, norm, count) in [(&mut queries, &norms[0], heads), (&mut keys, &norms[1], kv_heads)] {
        for (at, head) in tensor.chunks_mut(size).enumerate() {
            turn(of, head, norm, &angles[positions[at / count] as usize * turned..]);
        }
    }
    assert_bits(
        &card.download(on_card, queries.len()),
        &queries,
        &format!("queries of {size}"),
    );
    for (cache, tensor, is_value) in [(cache[0], &keys, false), (cache[1], &values, true)] {
        let got = card.download::<u16>(cache, 3 * BLOCK * kv_heads * size);
        let mut expected = vec![UNWRITTEN; got.len()];
        for (at, value) in tensor.iter().enumerate() {
            let (row, head, element) = (at / size / kv_heads, at / size % kv_heads, at % size);
            let slot = slots[row] as usize;
            let block = (slot / BLOCK * kv_heads + head) * BLOCK * size;
            expected[block + place(size, slot % BLOCK, element, is_value)] = f16::from_f32(*value).to_bits();
        }
        assert!(got == expected, "cache of heads of {size}, values: {is_value}");
    }
    card
}

fn turn(of: &Rotated, head: &mut [f32], norm: &[f32], angles: &[f32]) {
    if of.norm {
        let x = head.to_vec();
        rms_norm(&x, norm, EPSILON, head);
    }
    for pair in 0..of.turned / 2 {
        let (a, b) = if of.pairs == 0 {
            (2 * pair, 2 * pair + 1)
        } else {
            (pair, pair + of.turned / 2)
        };
        (head[a], head[b]) = rotate_pair(head[a], head[b], angles[2 * pair], angles[2 * pair + 1]);
    }
}
