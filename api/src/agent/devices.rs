//! What an agent says of the devices that it was given.

use serde::{Deserialize, Serialize};

use super::GpuFault;

/// The devices of an agent, each of which computes the whole model: those that have ended leave its work to the others.
/// GPUs that share the model's layers are one device.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Devices {
    /// Those that it was given; 0 where the agent does not say it.
    pub given: u32,
    /// Why those have ended that compute no more, one entry for each, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ended: Vec<DeviceEnd>,
}

impl Devices {
    /// Those that still compute.
    pub fn serving(&self) -> u32 {
        let ended = u32::try_from(self.ended.len()).unwrap_or(u32::MAX);
        self.given.saturating_sub(ended)
    }
}

/// Why a device computes no more. In JSON it is its word; one that is not known is an end of the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "String", into = "&'static str")]
pub enum DeviceEnd {
    /// What happened to the GPU.
    Gpu(GpuFault),
    /// Its engine ended for another reason, which the agent's log says.
    Engine,
}

impl DeviceEnd {
    /// The word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Gpu(fault) => fault.word(),
            Self::Engine => "EngineEnded",
        }
    }

    /// What it means, and what the farm can do.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Gpu(fault) => fault.words(),
            Self::Engine => "its engine has ended: the agent's log says why",
        }
    }
}

impl From<String> for DeviceEnd {
    fn from(word: String) -> Self {
        let fault = GpuFault::ALL.into_iter().find(|fault| fault.word() == word);
        fault.map_or(Self::Engine, Self::Gpu)
    }
}

impl From<DeviceEnd> for &'static str {
    fn from(end: DeviceEnd) -> Self {
        end.word()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_is_read_back_from_its_word() {
        let all = GpuFault::ALL.map(DeviceEnd::Gpu);
        let devices = Devices {
            given: 20,
            ended: all.into_iter().chain([DeviceEnd::Engine]).collect(),
        };
        let text = serde_json::to_string(&devices).expect("JSON");
        assert_eq!(serde_json::from_str::<Devices>(&text).expect("devices"), devices);
        assert_eq!(devices.serving(), 7);
    }

    #[test]
    fn a_word_of_a_later_agent_is_an_end_of_the_engine() {
        let devices: Devices =
            serde_json::from_str(r#"{"given": 1, "ended": ["Evaporated", "Melted"]}"#).expect("devices");
        assert_eq!(devices.ended, [DeviceEnd::Engine; 2]);
        // More have ended than there were: no count is below nothing.
        assert_eq!(devices.serving(), 0);
    }

    proptest::proptest! {
        #[test]
        fn whatever_stands_for_an_end_is_read_without_a_panic(word: String) {
            let known = GpuFault::ALL.into_iter().find(|fault| fault.word() == word);
            proptest::prop_assert_eq!(DeviceEnd::from(word), known.map_or(DeviceEnd::Engine, DeviceEnd::Gpu));
        }
    }
}
