//! `gpu-agent info`: what the driver says of each card, what it was measured to do, and what it could serve.

use std::fmt::Write as _;
use std::path::Path;

use gpu_agent::backend::cuda::{
    device::Device,
    error::OpenError,
    forecast::{Forecast, forecast},
    probe,
    rates::{Rates, Units},
};
use serde::Serialize;

/// Where Linux lists the devices of the PCI bus.
const PCI: &str = "/sys/bus/pci/devices";
/// Where the driver's kernel module says its release.
const DRIVER: &str = "/sys/module/nvidia/version";
/// Vendor of NVIDIA's cards there.
const NVIDIA: &str = "0x10de";

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Card {
    index: usize,
    name: String,
    compute_capability: String,
    multiprocessors: usize,
    memory_bytes: u64,
    free_bytes: u64,
    bus: Option<String>,
    link: Link,
    /// The driver's release, where its kernel module says it.
    driver: Option<String>,
    /// The newest CUDA that the driver knows.
    driver_cuda: Option<String>,
    theoretical_bandwidth: Option<f64>,
    measured: Rates,
    serves: Vec<Forecast>,
}

/// The link between host and card; nothing is said where the operating system says nothing.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Link {
    generation: Option<u32>,
    lanes: Option<u32>,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut cards = Vec::new();
    let mut refused = Vec::new();
    for index in 0..Device::count()?.max(1) {
        // A card that cannot be used leaves the others.
        match Device::open(index).and_then(|device| card(index, device)) {
            Ok(card) => cards.push(card),
            Err(error) => refused.push(error),
        }
    }
    if cards.is_empty() {
        // Which of them is told makes no difference: none can be used.
        return Err(refused.swap_remove(0).into());
    }
    let said: Vec<String> = refused
        .into_iter()
        .map(|error| format!("{:#}", anyhow::Error::new(error)))
        .collect();
    if arguments.json {
        println!("{:#}", serde_json::json!({"cards": cards, "refused": said}));
    } else {
        for card in &cards {
            print!("{}", table(card));
        }
        for error in &said {
            println!("{error}");
        }
    }
    Ok(())
}

fn card(index: usize, mut device: Device) -> Result<Card, OpenError> {
    let rates = probe::measure(&mut device).map_err(|source| OpenError::Measurement {
        ordinal: index,
        source,
    })?;
    let (major, minor) = device.capability();
    let (free_bytes, memory_bytes) = device.memory();
    let bus = device.bus();
    let units = Units::new(rates, (major, minor));
    Ok(Card {
        index,
        name: device.name().to_owned(),
        compute_capability: format!("{major}.{minor}"),
        multiprocessors: device.multiprocessors(),
        memory_bytes,
        free_bytes,
        link: bus
            .as_deref()
            .map(|bus| link(Path::new(PCI), bus))
            .unwrap_or_default(),
        bus,
        driver: driver_release(Path::new(DRIVER)),
        driver_cuda: device.driver().map(|(major, minor)| format!("{major}.{minor}")),
        theoretical_bandwidth: device.theoretical_bandwidth(),
        serves: forecast(&units, free_bytes),
        measured: rates,
    })
}

/// The release of the driver, such as 535.104.05: digits and dots alone.
fn driver_release(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let release = text.trim();
    let is_release = !release.is_empty() && release.chars().all(|c| c.is_ascii_digit() || c == '.');
    is_release.then(|| release.to_owned())
}

/// What Linux says of a device's link, if the device is a card of NVIDIA's.
fn link(devices: &Path, bus: &str) -> Link {
    let read = |name: &str| std::fs::read_to_string(devices.join(bus).join(name)).ok();
    if read("vendor").is_none_or(|vendor| vendor.trim() != NVIDIA) {
        return Link::default();
    }
    Link {
        generation: read("current_link_speed").and_then(|speed| generation(&speed)),
        lanes: read("current_link_width").and_then(|width| width.trim().parse().ok()),
    }
}

/// The generation of a link by its speed, such as `8.0 GT/s PCIe`.
fn generation(speed: &str) -> Option<u32> {
    match speed.split_whitespace().next()? {
        "2.5" => Some(1),
        "5.0" | "5" => Some(2),
        "8.0" | "8" => Some(3),
        "16.0" | "16" => Some(4),
        "32.0" | "32" => Some(5),
        "64.0" | "64" => Some(6),
        _ => None,
    }
}

fn table(card: &Card) -> String {
    let known = |value: Option<String>| value.unwrap_or_else(|| "unknown".to_owned());
    let giga = |value: f64| format!("{:.1} GB/s", value / 1e9);
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "  {name:<26} {value}");
    };
    let Link { generation, lanes } = card.link;
    line("compute capability", card.compute_capability.clone());
    line("multiprocessors", card.multiprocessors.to_string());
    line(
        "memory",
        format!(
            "{} MiB, {} MiB free",
            card.memory_bytes >> 20,
            card.free_bytes >> 20
        ),
    );
    line("PCI bus", known(card.bus.clone()));
    line(
        "PCIe generation",
        known(generation.map(|number| number.to_string())),
    );
    line("PCIe lanes", known(lanes.map(|number| number.to_string())));
    line("driver", known(card.driver.clone()));
    line("driver's CUDA", known(card.driver_cuda.clone()));
    line(
        "theoretical bandwidth",
        known(card.theoretical_bandwidth.map(giga)),
    );
    let Rates {
        dp4a,
        dp2a,
        mad,
        tensor,
        scale,
        memory,
        link,
    } = card.measured;
    line("measured bandwidth", giga(memory));
    line("measured host link", giga(link));
    for (name, rate) in [
        ("measured dp4a", dp4a),
        ("measured dp2a", dp2a),
        ("measured multiply-add", mad),
        ("measured float scaling", scale),
    ] {
        line(name, format!("{:.1} G/s", rate / 1e9));
    }
    line(
        "measured tensor cores",
        if tensor > 0.0 {
            format!("{:.1} T products/s", tensor / 1e12)
        } else {
            "none".to_owned()
        },
    );
    let mut text = format!("GPU {}: {}\n{text}", card.index, card.name);
    let _ = writeln!(text, "  could serve, as an estimate:");
    for of in &card.serves {
        let common = of
            .tokens_per_second_of_8_billions
            .map_or("do not fit".to_owned(), |speed| format!("{speed:.0} tokens/s"));
        let _ = writeln!(
            text,
            "    {:<5} up to {:.1} billion weights at {:.0} tokens/s; 8 billion: {common} ({} bound)",
            of.quantisation, of.largest_billions, of.largest_tokens_per_second, of.bound
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_is_what_the_operating_system_says_of_a_card_of_nvidia() {
        let folder = tempfile::tempdir().unwrap();
        let device = folder.path().join("0000:01:00.0");
        std::fs::create_dir(&device).unwrap();
        let write = |name: &str, text: &str| std::fs::write(device.join(name), text).unwrap();
        write("current_link_speed", "2.5 GT/s PCIe\n");
        write("current_link_width", "1\n");
        write("vendor", "0x8086\n");
        assert_eq!(link(folder.path(), "0000:01:00.0"), Link::default());
        write("vendor", "0x10de\n");
        let expected = Link {
            generation: Some(1),
            lanes: Some(1),
        };
        assert_eq!(link(folder.path(), "0000:01:00.0"), expected);
        assert_eq!(link(folder.path(), "0000:02:00.0"), Link::default());
        write("current_link_speed", "Unknown\n");
        write("current_link_width", "\n");
        assert_eq!(link(folder.path(), "0000:01:00.0"), Link::default());
    }

    #[test]
    fn the_release_of_the_driver_is_what_its_module_says() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("version");
        assert_eq!(driver_release(&path), None);
        std::fs::write(&path, "535.104.05\n").unwrap();
        assert_eq!(driver_release(&path).as_deref(), Some("535.104.05"));
        std::fs::write(&path, "<b>\n").unwrap();
        assert_eq!(driver_release(&path), None);
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics_the_parser(text in "\\PC{0,40}") {
            let _ = generation(&text);
        }
    }
}
