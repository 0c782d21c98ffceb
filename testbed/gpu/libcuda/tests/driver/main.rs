//! The driver through unmodified cudarc, and what no card would do for a test: break when it is told to.
#![expect(
    unsafe_code,
    reason = "launches are unsafe, and so are the driver's functions"
)]

mod api;
mod cost;
mod cudarc_suite;
mod device;
mod faults;
mod kernels;
mod machine;
mod memory;
mod streams;
