//! Names of special registers (PTX ISA 10).

use crate::program::Special;

/// The special register of this name, and whether it has 64 bits.
pub fn special(name: &str, component: Option<&str>) -> Option<(Special, bool)> {
    let axis = |make: fn(u8) -> Special| {
        Some(match component? {
            "x" => make(0),
            "y" => make(1),
            "z" => make(2),
            _ => Special::Zero,
        })
    };
    let which = match (name, component) {
        ("%tid", _) => axis(Special::Tid)?,
        ("%ntid", _) => axis(Special::Ntid)?,
        ("%ctaid", _) => axis(Special::Ctaid)?,
        ("%nctaid", _) => axis(Special::Nctaid)?,
        ("%clusterid", Some(_)) => axis(Special::Ctaid)?,
        ("%nclusterid", Some(_)) => axis(Special::Nctaid)?,
        ("%cluster_ctaid", Some(_)) => Special::Zero,
        ("%cluster_nctaid", Some(_)) => Special::One,
        (_, Some(_)) => return None,
        ("%laneid", _) => Special::Laneid,
        ("%warpid", _) => Special::Warpid,
        ("%nwarpid", _) => Special::Nwarpid,
        ("%smid", _) => Special::Smid,
        ("%nsmid", _) => Special::Nsmid,
        ("%gridid", _) => Special::Gridid,
        ("%lanemask_eq", _) => Special::LanemaskEq,
        ("%lanemask_le", _) => Special::LanemaskLe,
        ("%lanemask_lt", _) => Special::LanemaskLt,
        ("%lanemask_ge", _) => Special::LanemaskGe,
        ("%lanemask_gt", _) => Special::LanemaskGt,
        ("%clock" | "%clock64", _) => Special::Clock,
        ("%clock_hi", _) => Special::ClockHi,
        ("%globaltimer", _) => Special::Globaltimer,
        ("%globaltimer_lo", _) => Special::GlobaltimerLo,
        ("%globaltimer_hi", _) => Special::GlobaltimerHi,
        ("%dynamic_smem_size", _) => Special::DynamicSharedSize,
        ("%total_smem_size" | "%aggr_smem_size", _) => Special::TotalSharedSize,
        ("%is_explicit_cluster" | "%cluster_ctarank" | "%reserved_smem_offset_begin", _) => Special::Zero,
        ("%cluster_nctarank", _) => Special::One,
        _ => {
            let environment = name
                .strip_prefix("%envreg")
                .or_else(|| name.strip_prefix("%pm"))?;
            environment.parse::<u8>().ok().filter(|&number| number < 32)?;
            Special::Zero
        }
    };
    Some((which, matches!(name, "%clock64" | "%globaltimer" | "%gridid")))
}
