//! The blockchain configuration: what gas, forwarding and storage cost, and which network this is.
//!
//! The prices are those that mainnet's configuration held in August 2026. Nothing is read from outside: the cells of
//! every parameter are built here, so that a fee in a test can be traced to a line of this file.

use tycho_executor::ParsedConfig;
use tycho_types::error::Error;
use tycho_types::models::{
    BlockchainConfig, GasLimitsPrices, GlobalCapabilities, GlobalCapability, GlobalVersion, MsgForwardPrices,
    SizeLimitsConfig, StoragePrices, WorkchainDescription, WorkchainFormat, WorkchainFormatBasic,
};
use tycho_types::prelude::*;

/// Global id of the testbed network (mainnet is -239, testnet is -3).
pub const TESTBED_GLOBAL_ID: i32 = -217;

/// The newest global version that the executor implements; mainnet is at 15, whose opcodes would fail here.
const GLOBAL_VERSION: u32 = 12;

/// Address of the configuration contract in the masterchain, as on mainnet.
const CONFIG_ADDRESS: HashBytes = HashBytes([0x55; 32]);

/// Gas in the basechain: 66.67 nanoTON per unit (4369067 / 65536), 100 units for a flat 6,667 nanoTON.
pub const BASECHAIN_GAS: GasLimitsPrices = GasLimitsPrices {
    gas_price: 4_369_067,
    gas_limit: 1_000_000,
    special_gas_limit: 1_000_000,
    gas_credit: 10_000,
    block_gas_limit: 10_000_000,
    freeze_due_limit: 100_000_000,
    delete_due_limit: 1_000_000_000,
    flat_gas_limit: 100,
    flat_gas_price: 6_667,
};

/// Gas in the masterchain: 10,000 nanoTON per unit.
pub const MASTERCHAIN_GAS: GasLimitsPrices = GasLimitsPrices {
    gas_price: 655_360_000,
    gas_limit: 1_000_000,
    special_gas_limit: 70_000_000,
    gas_credit: 10_000,
    block_gas_limit: 10_000_000,
    freeze_due_limit: 100_000_000,
    delete_due_limit: 1_000_000_000,
    flat_gas_limit: 100,
    flat_gas_price: 1_000_000,
};

/// Forwarding in the basechain: 66,667 nanoTON a message, 66.67 nanoTON a bit, 6,667 nanoTON a cell.
pub const BASECHAIN_FORWARDING: MsgForwardPrices = MsgForwardPrices {
    lump_price: 66_667,
    bit_price: 4_369_067,
    cell_price: 436_906_667,
    ihr_price_factor: 98_304,
    first_frac: 21_845,
    next_frac: 21_845,
};

/// Forwarding in the masterchain.
pub const MASTERCHAIN_FORWARDING: MsgForwardPrices = MsgForwardPrices {
    lump_price: 10_000_000,
    bit_price: 655_360_000,
    cell_price: 65_536_000_000,
    ihr_price_factor: 98_304,
    first_frac: 21_845,
    next_frac: 21_845,
};

/// Storage: per unit and 65,536 seconds.
///
/// One entry only, valid from the start: the executor's getters refuse a parameter with two.
pub const STORAGE: StoragePrices = StoragePrices {
    utime_since: 0,
    bit_price_ps: 0,
    cell_price_ps: 135,
    mc_bit_price_ps: 1_000,
    mc_cell_price_ps: 500_000,
};

/// Builds the whole configuration of a network with this global id, at `price_factor` times the basechain's prices of
/// gas and forwarding.
///
/// # Errors
///
/// Fails only if a value above does not fit its cell, which the tests of this module rule out.
pub fn blockchain_config(global_id: i32, price_factor: u32) -> Result<BlockchainConfig, Error> {
    let (gas, forwarding) = basechain_prices(price_factor);
    let mut config = BlockchainConfig::new_empty(CONFIG_ADDRESS);
    config.set_global_version(&GlobalVersion {
        version: GLOBAL_VERSION,
        capabilities: GlobalCapabilities::from([
            GlobalCapability::CapCreateStatsEnabled,
            GlobalCapability::CapBounceMsgBody,
            GlobalCapability::CapReportVersion,
            GlobalCapability::CapShortDequeue,
        ]),
    })?;
    config.set_raw(12, CellBuilder::build_from(workchains()?)?)?;
    config.set_storage_prices(&[STORAGE])?;
    config.set_global_id(global_id)?;
    config.set_gas_prices(true, &MASTERCHAIN_GAS)?;
    config.set_gas_prices(false, &gas)?;
    config.set_msg_forward_prices(true, &MASTERCHAIN_FORWARDING)?;
    config.set_msg_forward_prices(false, &forwarding)?;
    config.set_fundamental_addresses(&[CONFIG_ADDRESS])?;
    config.set_size_limits(&size_limits())?;
    Ok(config)
}

fn basechain_prices(factor: u32) -> (GasLimitsPrices, MsgForwardPrices) {
    let times = |price: u64| price.saturating_mul(u64::from(factor));
    let gas = GasLimitsPrices {
        gas_price: times(BASECHAIN_GAS.gas_price),
        flat_gas_price: times(BASECHAIN_GAS.flat_gas_price),
        ..BASECHAIN_GAS
    };
    let forwarding = MsgForwardPrices {
        lump_price: times(BASECHAIN_FORWARDING.lump_price),
        bit_price: times(BASECHAIN_FORWARDING.bit_price),
        cell_price: times(BASECHAIN_FORWARDING.cell_price),
        ..BASECHAIN_FORWARDING
    };
    (gas, forwarding)
}

/// Limits of messages and accounts; the external message limits are the ones that the network's nodes enforce.
pub const fn size_limits() -> SizeLimitsConfig {
    ParsedConfig::DEFAULT_SIZE_LIMITS_CONFIG
}

/// The basechain as the only workchain, described with tag `0xa6`: the executor does not read mainnet's `0xa7`.
fn workchains() -> Result<Dict<i32, WorkchainDescription>, Error> {
    let mut workchains = Dict::new();
    workchains.set(
        0,
        WorkchainDescription {
            enabled_since: 0,
            actual_min_split: 0,
            min_split: 0,
            max_split: 0,
            active: true,
            accept_msgs: true,
            zerostate_root_hash: HashBytes::ZERO,
            zerostate_file_hash: HashBytes::ZERO,
            version: 0,
            format: WorkchainFormat::Basic(WorkchainFormatBasic {
                vm_version: -1,
                vm_mode: 0,
            }),
        },
    )?;
    Ok(workchains)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_parses_and_holds_one_storage_price_and_the_global_id() {
        let config = blockchain_config(TESTBED_GLOBAL_ID, 1).unwrap();
        let parsed = ParsedConfig::parse(config, 1_792_000_000).unwrap();
        assert_eq!(parsed.global_id, TESTBED_GLOBAL_ID);
        assert_eq!(parsed.storage_prices, vec![STORAGE]);
        assert!(parsed.workchains.contains_key(&0));
    }

    #[test]
    fn a_unit_of_gas_in_the_basechain_costs_two_hundred_thirds_of_a_nanoton() {
        assert_eq!(BASECHAIN_GAS.compute_gas_fee(100).into_inner(), 6_667);
        assert_eq!(
            BASECHAIN_GAS.compute_gas_fee(100 + 3_000).into_inner(),
            6_667 + 200_001
        );
    }
}
