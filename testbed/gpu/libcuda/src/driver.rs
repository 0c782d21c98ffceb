//! The driver's state: one for the process, from `cuInit` to its end.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::config::Config;
use crate::context::Context;
use crate::device::Device;
use crate::error::{Code, Result};
use crate::event::Event;
use crate::graph::{Exec, Graph, NodeName};
use crate::handle::Table;
use crate::log;
use crate::memory::Allocations;
use crate::memory::pool::Pool;
use crate::module::{Function, Module};
use crate::stream::Stream;

/// The version that `cuDriverGetVersion` gives: the API of CUDA 12.2.
pub const VERSION: i32 = 12_020;

/// Everything that is live.
pub struct Driver {
    /// What the machine is.
    pub config: Config,
    /// The visible cards.
    pub devices: Vec<Arc<Device>>,
    /// Contexts by handle.
    pub contexts: Table<Context>,
    /// Streams by handle; those with fixed handles belong to their contexts.
    pub streams: Table<Stream>,
    /// Events by handle.
    pub events: Table<Event>,
    /// Modules, and libraries, by handle.
    pub modules: Table<Module>,
    /// Kernels by handle.
    pub functions: Table<Function>,
    /// Graphs by handle.
    pub graphs: Table<Graph>,
    /// Nodes of graphs by handle.
    pub nodes: Table<NodeName>,
    /// Graphs made ready, by handle.
    pub execs: Table<Exec>,
    /// Memory pools by handle.
    pub pools: Table<Pool>,
    /// What is allocated.
    pub allocations: Arc<Allocations>,
}

static DRIVER: OnceLock<Driver> = OnceLock::new();
static STARTING: Mutex<()> = Mutex::new(());

/// The driver, once `cuInit` has succeeded.
pub fn get() -> Result<&'static Driver> {
    DRIVER.get().ok_or(Code::NOT_INITIALIZED)
}

/// `cuInit`: reads the environment and finds the cards.
pub fn init() -> Result<()> {
    let _one_at_a_time = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
    if DRIVER.get().is_some() {
        return Ok(());
    }
    let config = Config::read(|name| std::env::var(name).ok())
        .map_err(|problem| log::refuse(Code::UNKNOWN, &format!("cuInit: {problem}")))?;
    log::open(config.log.as_deref());
    if config.cards.is_empty() {
        return Err(Code::NO_DEVICE);
    }
    let driver = Driver::new(config)
        .map_err(|problem| log::refuse(Code::OPERATING_SYSTEM, &format!("cuInit: {problem}")))?;
    DRIVER.get_or_init(|| driver);
    Ok(())
}

impl Driver {
    fn new(config: Config) -> std::result::Result<Self, String> {
        let devices: std::result::Result<Vec<_>, _> = (0..config.cards.len())
            .map(|place| Device::new(&config, place).map(Arc::new))
            .collect();
        let devices = devices?;
        let allocations = Arc::new(Allocations::new(devices.clone()));
        let driver = Self {
            config,
            devices,
            contexts: Table::new(0x51, Code::INVALID_CONTEXT),
            streams: Table::new(0x52, Code::INVALID_HANDLE),
            events: Table::new(0x53, Code::INVALID_HANDLE),
            modules: Table::new(0x54, Code::INVALID_HANDLE),
            functions: Table::new(0x55, Code::INVALID_HANDLE),
            graphs: Table::new(0x56, Code::INVALID_VALUE),
            nodes: Table::new(0x57, Code::INVALID_VALUE),
            execs: Table::new(0x58, Code::INVALID_VALUE),
            pools: Table::new(0x59, Code::INVALID_VALUE),
            allocations,
        };
        for device in &driver.devices {
            let pool = driver.pools.add(Pool::new(device.ordinal, true, 0));
            device.pool.store(pool, std::sync::atomic::Ordering::Relaxed);
            device.default_pool.get_or_init(|| pool);
        }
        Ok(driver)
    }

    /// The card of an ordinal.
    pub fn device(&self, ordinal: i32) -> Result<&Arc<Device>> {
        usize::try_from(ordinal)
            .ok()
            .and_then(|place| self.devices.get(place))
            .ok_or(Code::INVALID_DEVICE)
    }
}
