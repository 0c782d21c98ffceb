//! Values as they lie in a card's memory.

/// A value that lies in memory as it does on a little-endian host.
pub trait Plain: Copy {
    /// Bytes of a value.
    const SIZE: usize;
    /// Appends the bytes.
    fn put(self, to: &mut Vec<u8>);
    /// From exactly `SIZE` bytes.
    fn take(from: &[u8]) -> Self;
}

macro_rules! plain {
    ($($kind:ty),*) => { $(
        impl Plain for $kind {
            const SIZE: usize = size_of::<$kind>();
            fn put(self, to: &mut Vec<u8>) {
                to.extend_from_slice(&self.to_le_bytes());
            }
            fn take(from: &[u8]) -> Self {
                let mut bytes = [0; size_of::<$kind>()];
                bytes.copy_from_slice(from);
                Self::from_le_bytes(bytes)
            }
        }
    )* };
}

plain!(u8, i8, u16, i32, u32, u64, f32);
