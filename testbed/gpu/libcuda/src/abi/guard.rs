//! What every exported function passes through, and the types of its arguments.

use std::ffi::{CStr, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::driver::{self, Driver};
use crate::error::{Code, Result};
use crate::log;

/// Runs the body of an exported function that works without `cuInit`. A panic becomes `CUDA_ERROR_UNKNOWN`.
pub fn free(name: &str, body: impl FnOnce() -> Result<()>) -> i32 {
    // Whatever the body left half done lies behind locks that ignore poison, and every later call finds it there.
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => 0,
        Ok(Err(code)) => code.number(),
        Err(_) => log::refuse(
            Code::UNKNOWN,
            &format!("{name} panicked, which is a fault of this library"),
        )
        .number(),
    }
}

/// Runs the body of an exported function that needs `cuInit` and must not be called from a host function.
pub fn enter(name: &str, body: impl FnOnce(&'static Driver) -> Result<()>) -> i32 {
    free(name, || {
        let driver = driver::get()?;
        if super::host::in_callback() {
            return Err(log::refuse(
                Code::NOT_PERMITTED,
                &format!("{name} was called from a host function of a stream"),
            ));
        }
        body(driver)
    })
}

/// Defines exported functions, and `symbols()` with their names and addresses for `cuGetProcAddress`.
macro_rules! export {
    ($($how:ident $name:ident($($arg:ident: $kind:ty),* $(,)?) |$($driver:ident)?| $body:block)*) => {
        $(
            #[unsafe(no_mangle)]
            extern "C" fn $name($($arg: $kind),*) -> i32 {
                $crate::abi::guard::$how(stringify!($name), |$($driver)?| $body)
            }
        )*

        /// Names and addresses of this file's functions.
        pub fn symbols() -> Vec<(&'static str, usize)> {
            vec![$((stringify!($name), $name as *const () as usize)),*]
        }
    };
}
pub(super) use export;

/// Where a caller wants a result: null, or the address of a `T` that may be written.
#[repr(transparent)]
pub struct Out<T>(*mut T);

impl<T> Clone for Out<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Out<T> {}

impl<T> Out<T> {
    /// Refuses null, before anything is done that would have to be undone.
    pub fn wanted(self) -> Result<()> {
        if self.0.is_null() {
            Err(Code::INVALID_VALUE)
        } else {
            Ok(())
        }
    }

    /// Whether the caller gave an address.
    pub fn given(self) -> bool {
        !self.0.is_null()
    }

    /// Writes the result; null is refused.
    pub fn set(self, value: T) -> Result<()> {
        self.wanted()?;
        self.maybe(value);
        Ok(())
    }

    /// Writes the result if the caller wants it.
    pub fn maybe(self, value: T) {
        if !self.0.is_null() {
            // SAFETY: the API's contract is that a non-null result address may be written; it need not be aligned.
            unsafe { self.0.write_unaligned(value) }
        }
    }

    /// What lies there before; null is refused.
    pub fn read(self) -> Result<T>
    where
        T: Copy,
    {
        In(self.0.cast_const()).get()
    }

    /// The same for the element of that index of an array.
    pub fn at(self, index: usize) -> Self {
        Self(if self.0.is_null() {
            self.0
        } else {
            self.0.wrapping_add(index)
        })
    }

    /// The result read as another type, for calls whose result's type depends on an argument.
    pub fn cast<U>(self) -> Out<U> {
        Out(self.0.cast())
    }
}

/// What a caller passes by address: null, or the address of a `T` that may be read.
#[repr(transparent)]
pub struct In<T>(*const T);

impl<T> Clone for In<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for In<T> {}

impl<T: Copy> In<T> {
    /// An argument that is not given.
    pub fn null() -> Self {
        Self(std::ptr::null())
    }

    /// Whether the caller gave an address.
    pub fn given(self) -> bool {
        !self.0.is_null()
    }

    /// The value; null is refused.
    pub fn get(self) -> Result<T> {
        self.at(0)
    }

    /// The element of that index of an array; a null array is refused.
    pub fn at(self, index: usize) -> Result<T> {
        if self.0.is_null() {
            return Err(Code::INVALID_VALUE);
        }
        // SAFETY: the API's contract is that a non-null argument holds as many values as the call says; alignment is
        // not relied on.
        Ok(unsafe { self.0.wrapping_add(index).read_unaligned() })
    }

    /// The address itself.
    pub fn address(self) -> usize {
        self.0.addr()
    }

    /// `bytes` bytes from that address.
    pub fn bytes(self, bytes: usize) -> Result<Vec<u8>> {
        if self.0.is_null() {
            return Err(Code::INVALID_VALUE);
        }
        let mut copy = vec![0; bytes];
        // SAFETY: the API's contract is that a non-null argument holds the bytes that the call or the kernel's
        // signature says; `copy` is as long and does not overlap it.
        unsafe { std::ptr::copy_nonoverlapping(self.0.cast::<u8>(), copy.as_mut_ptr(), bytes) };
        Ok(copy)
    }
}

/// A zero-terminated text of the caller's, or null.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct Text(*const c_char);

impl Text {
    /// A text of the library's own.
    pub fn of(text: &CStr) -> Self {
        Self(text.as_ptr())
    }

    /// The text; null is refused.
    pub fn get(&self) -> Result<&CStr> {
        if self.0.is_null() {
            return Err(Code::INVALID_VALUE);
        }
        // SAFETY: the API's contract is that a non-null text ends with a zero byte and lives during the call.
        Ok(unsafe { CStr::from_ptr(self.0) })
    }

    /// The text, if it is UTF-8; other bytes name nothing that exists here.
    pub fn utf8(&self) -> Result<&str> {
        self.get()?.to_str().map_err(|_| Code::INVALID_VALUE)
    }
}

#[cfg(test)]
mod tests {
    use super::{In, Out, Text, enter, free};
    use crate::error::Code;

    #[test]
    fn a_panic_does_not_cross_into_c() {
        assert_eq!(
            free("cuPanics", || panic!("a fault of the library")),
            Code::UNKNOWN.number()
        );
    }

    #[test]
    fn nothing_works_before_init() {
        assert_eq!(enter("cuEarly", |_| Ok(())), Code::NOT_INITIALIZED.number());
    }

    #[test]
    fn null_is_refused_where_a_value_is_wanted() {
        let null = Out::<i32>(std::ptr::null_mut());
        assert_eq!(null.set(1), Err(Code::INVALID_VALUE));
        assert!(!null.given() && !null.at(3).given());
        assert_eq!(In::<u64>::null().get(), Err(Code::INVALID_VALUE));
        assert_eq!(In::<u8>::null().bytes(4), Err(Code::INVALID_VALUE));
        assert_eq!(Text(std::ptr::null()).utf8(), Err(Code::INVALID_VALUE));
        let mut value = 0;
        Out(&raw mut value).set(7).expect("given");
        assert_eq!(value, 7);
    }
}
