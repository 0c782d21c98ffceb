//! What memory an agent asks for and may take, derived from what its model takes.

/// Bytes of a mebibyte.
const MIB: u64 = 1 << 20;
/// Bytes that an agent has beside model and cache when it serves little: process, tokenizer, activations of a batch,
/// connections. An agent of SmolLM2-135M, whose file has 94 MiB, stood at 145 MiB once it served. A vocabulary three
/// times as large and a batch 30,000 values wide, of 256 rows, take some 200 MiB more; the rest is room.
const BASE: u64 = 512 * MIB;
/// Bytes beside these that an agent may take: results of sixteen jobs that are as large as they may be, 22 MiB each,
/// and as much again for bodies, templates and what an allocator keeps.
const WORK: u64 = 768 * MIB;
/// Of the weights one part in so many may be in memory twice while they are loaded: the largest matrix is read before
/// it is packed, and is up to a fifth of a small model. Floats of 16 bits are packed with a scale for each 32, which is
/// a sixteenth more.
const LOADING_PART: u64 = 4;
/// Tokens to which contexts are rounded up: whole blocks of the cache of any backend.
const BLOCK_TOKENS: u64 = 64;
/// Bytes on the host for each GPU: the driver's own for a context, and page-locked pieces of the file on their way to
/// the card.
const GPU_BASE: u64 = 512 * MIB;
/// Bytes on the host for each GPU at most.
const GPU_MOST: u64 = 1024 * MIB;

/// What a model takes in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footprint {
    /// Bytes of its weights.
    pub weights: u64,
    /// Bytes of keys and values of one token.
    pub cache_per_token: u64,
}

/// Where an agent computes, and for how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Machine {
    /// On the processor: the node's memory holds weights and cache.
    Cpu {
        /// Tokens of context.
        context: u32,
        /// Requests at once.
        sequences: u32,
    },
    /// On GPUs, which hold weights and cache. The host never holds the file: it passes through in pieces of a few MiB.
    Gpus(u32),
}

/// Bytes of memory of one agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// What is set aside for it.
    pub request: u64,
    /// What it may take; never below `request`.
    pub limit: u64,
}

/// What an agent with this model asks for and may take; saturating.
pub fn memory(footprint: Footprint, machine: Machine) -> Memory {
    match machine {
        Machine::Cpu { context, sequences } => {
            let tokens = u64::from(context)
                .next_multiple_of(BLOCK_TOKENS)
                .saturating_mul(sequences.into());
            let cache = footprint.cache_per_token.saturating_mul(tokens);
            let held = footprint.weights.saturating_add(cache).saturating_add(BASE);
            Memory {
                request: held,
                limit: held
                    .saturating_add(footprint.weights.div_ceil(LOADING_PART))
                    .saturating_add(WORK),
            }
        }
        Machine::Gpus(gpus) => {
            let each = |bytes: u64| bytes.saturating_mul(gpus.into());
            Memory {
                request: BASE.saturating_add(each(GPU_BASE)),
                limit: (BASE + WORK).saturating_add(each(GPU_MOST)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SMALL: Footprint = Footprint {
        weights: 100 * MIB,
        cache_per_token: 23_040,
    };

    #[test]
    fn on_the_processor_it_is_weights_and_cache_and_a_base() {
        let machine = Machine::Cpu {
            context: 1024,
            sequences: 8,
        };
        let cache = 23_040 * 1024 * 8;
        let Memory { request, limit } = memory(SMALL, machine);
        assert_eq!(request, 100 * MIB + cache + 512 * MIB);
        assert_eq!(limit, request + 25 * MIB + 768 * MIB);
        // A context that is no whole block takes the whole block.
        let odd = |context| {
            memory(
                SMALL,
                Machine::Cpu {
                    context,
                    sequences: 1,
                },
            )
        };
        assert_eq!(odd(65), odd(128));
        assert!(odd(129).request > odd(128).request);
    }

    #[test]
    fn on_gpus_the_host_holds_neither_weights_nor_cache() {
        let huge = Footprint {
            weights: 400 << 30,
            cache_per_token: 1 << 20,
        };
        for gpus in [1, 2, 8] {
            let of = memory(huge, Machine::Gpus(gpus));
            assert_eq!(of, memory(SMALL, Machine::Gpus(gpus)));
            assert_eq!(of.request, (512 + 512 * u64::from(gpus)) * MIB);
            assert_eq!(of.limit, (1280 + 1024 * u64::from(gpus)) * MIB);
        }
    }

    proptest! {
        #[test]
        fn a_limit_is_never_below_its_request_and_nothing_overflows(
            weights: u64, cache_per_token: u64, context: u32, sequences: u32, gpus: u32,
        ) {
            let footprint = Footprint { weights, cache_per_token };
            for machine in [Machine::Cpu { context, sequences }, Machine::Gpus(gpus)] {
                let Memory { request, limit } = memory(footprint, machine);
                prop_assert!(BASE <= request && request <= limit);
            }
        }
    }
}
