//! How Envoy's functions are found: all in one way, in the running process.
//!
//! They could be undefined symbols of the module, which the dynamic linker resolves. Then Envoy 1.40 would refuse a
//! module that knows a newer function than the Envoy it is loaded by, with a linker's message; functions that only
//! some versions have would have to be looked up nevertheless; and this crate could be linked into no test. So all
//! are looked up, once, with `dlsym`: those for filters when the module is loaded, those for policies when the first
//! is configured. A call costs one more load than through the linker's table.

#![allow(unsafe_code)]

use std::ffi::{CString, c_char, c_void};
use std::ptr::NonNull;

/// Declares functions of Envoy's as foreign functions are declared, and with them `find`, which looks them up. Once
/// that has succeeded, each is called as if it were linked.
macro_rules! functions {
    ($(
        $(#[doc = $doc:literal])*
        #[link_name = $symbol:literal]
        fn $name:ident($($parameter:ident: $kind:ty),* $(,)?) $(-> $result:ty)?;
    )*) => {
        /// Where the functions are.
        struct Functions {
            $($name: unsafe extern "C" fn($($kind),*) $(-> $result)?,)*
        }

        static FUNCTIONS: std::sync::OnceLock<Functions> = std::sync::OnceLock::new();

        /// Looks all of them up, unless that has been done.
        ///
        /// # Errors
        /// The name of one that the running Envoy does not export.
        pub(crate) fn find() -> Result<(), &'static str> {
            if FUNCTIONS.get().is_none() {
                let found = Functions {
                    $($name: {
                        let address = $crate::lookup::symbol($symbol).ok_or($symbol)?;
                        // SAFETY: Envoy exports under this name a function of this type, and it stays where it is as
                        // long as the process runs.
                        unsafe {
                            std::mem::transmute::<
                                std::ptr::NonNull<std::ffi::c_void>,
                                unsafe extern "C" fn($($kind),*) $(-> $result)?,
                            >(address)
                        }
                    },)*
                };
                // Another thread may have been faster, with the same addresses.
                let _ = FUNCTIONS.set(found);
            }
            Ok(())
        }

        $(
            $(#[doc = $doc])*
            #[inline]
            pub(crate) unsafe fn $name($($parameter: $kind),*) $(-> $result)? {
                let functions = FUNCTIONS.get().unwrap_or_else(|| $crate::lookup::not_found());
                // SAFETY: the caller keeps the function's contract.
                unsafe { (functions.$name)($($parameter),*) }
            }
        )*
    };
}

/// Declares functions of Envoy's that not all versions have, as foreign functions are declared. Each is looked up
/// when it is first asked for.
macro_rules! newer_functions {
    ($(
        $(#[doc = $doc:literal])*
        #[link_name = $symbol:literal]
        fn $name:ident($($parameter:ident: $kind:ty),* $(,)?) $(-> $result:ty)?;
    )*) => {$(
        $(#[doc = $doc])*
        pub(crate) fn $name() -> Option<unsafe extern "C" fn($($kind),*) $(-> $result)?> {
            type Function = unsafe extern "C" fn($($kind),*) $(-> $result)?;
            static FOUND: std::sync::OnceLock<Option<Function>> = std::sync::OnceLock::new();
            // SAFETY: as in `functions`.
            let found = |address| unsafe {
                std::mem::transmute::<std::ptr::NonNull<std::ffi::c_void>, Function>(address)
            };
            *FOUND.get_or_init(|| $crate::lookup::symbol($symbol).map(found))
        }
    )*};
}

pub(crate) use {functions, newer_functions};

/// Whether the running Envoy exports a symbol.
pub(crate) fn exported(name: &str) -> bool {
    symbol(name).is_some()
}

/// A symbol of the running Envoy.
pub(crate) fn symbol(name: &str) -> Option<NonNull<c_void>> {
    unsafe extern "C" {
        /// POSIX.
        fn dlsym(handle: *mut c_void, symbol: *const c_char) -> *mut c_void;
    }
    let name = CString::new(name).ok()?;
    // SAFETY: the name is a C string; a null handle searches the program and all that it has loaded.
    NonNull::new(unsafe { dlsym(std::ptr::null_mut(), name.as_ptr()) })
}

/// Ends the process: one of Envoy's functions was called before they were found. That cannot happen in a hook, because
/// Envoy calls none of a module whose start has failed.
#[cold]
pub(crate) fn not_found() -> ! {
    std::process::abort()
}
