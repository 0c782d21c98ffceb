//! What machine the library pretends to be: read once, from the environment of the process.
//!
//! | variable | meaning |
//! |---|---|
//! | `TESTBED_CUDA_DEVICES` | the cards, see [`cards`]; one RTX 3090 without it |
//! | `TESTBED_CUDA_LOG` | a file that launches and faults are appended to, one JSON object a line |
//! | `TESTBED_CUDA_RUNTIME_DIR` | where processes agree on how much of each card's memory is taken |
//! | `TESTBED_CUDA_WORKERS` | threads that execute the blocks of a launch; as many as there are cores without it |
//! | `CUDA_VISIBLE_DEVICES` | as NVIDIA's documentation has it, see [`visible`] |

pub mod cards;
pub mod presets;
pub mod visible;

use std::path::PathBuf;

use cards::Card;

/// The machine of this process.
#[derive(Debug)]
pub struct Config {
    /// Cards that the process sees, in the order in which it sees them.
    pub cards: Vec<Card>,
    /// Where launches and faults are written, beside standard error.
    pub log: Option<PathBuf>,
    /// Shared by the processes of one machine.
    pub runtime_dir: PathBuf,
    /// Threads for the blocks of one launch; at least 1.
    pub workers: usize,
}

impl Config {
    /// Reads the variables through `read`, which gives the value of a name.
    ///
    /// # Errors
    ///
    /// A sentence that names the variable and what is wrong with its value.
    pub fn read(read: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let set = |name: &str| read(name).filter(|value| !value.trim().is_empty());
        let all = cards::parse(&set("TESTBED_CUDA_DEVICES").unwrap_or_else(|| "rtx-3090".into()))
            .map_err(|problem| format!("TESTBED_CUDA_DEVICES: {problem}"))?;
        // Set but empty hides every card; not set shows them all.
        let cards = visible::filter(all, read("CUDA_VISIBLE_DEVICES").as_deref());
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let workers = match set("TESTBED_CUDA_WORKERS") {
            None => cores,
            Some(text) => match text.trim().parse() {
                Ok(count @ 1..=1024) => count,
                _ => {
                    return Err(format!(
                        "TESTBED_CUDA_WORKERS: `{text}` is not a number from 1 to 1024"
                    ));
                }
            },
        };
        let runtime_dir = set("TESTBED_CUDA_RUNTIME_DIR")
            .map_or_else(|| std::env::temp_dir().join("testbed-cuda"), PathBuf::from);
        Ok(Self {
            cards,
            log: set("TESTBED_CUDA_LOG").map(PathBuf::from),
            runtime_dir,
            workers,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Config;

    fn config(pairs: &[(&str, &str)]) -> Result<Config, String> {
        Config::read(|name| {
            pairs
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn without_variables_there_is_one_rtx_3090() {
        let config = config(&[]).expect("defaults are valid");
        assert_eq!(config.cards.len(), 1);
        assert_eq!(config.cards[0].name, "NVIDIA GeForce RTX 3090");
    }

    #[test]
    fn an_empty_cuda_visible_devices_hides_every_card() {
        assert!(
            config(&[("CUDA_VISIBLE_DEVICES", "")])
                .expect("valid")
                .cards
                .is_empty()
        );
    }

    #[test]
    fn a_bad_value_is_reported_with_its_variable() {
        let problem = config(&[("TESTBED_CUDA_WORKERS", "many")]).expect_err("not a number");
        assert!(
            problem.contains("TESTBED_CUDA_WORKERS") && problem.contains("many"),
            "{problem}"
        );
        let problem = config(&[("TESTBED_CUDA_DEVICES", "gtx-9999")]).expect_err("no such card");
        assert!(
            problem.contains("gtx-9999") && problem.contains("rtx-3090"),
            "{problem}"
        );
    }
}
