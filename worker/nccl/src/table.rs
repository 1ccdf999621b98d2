//! The functions of NCCL, by name, as `nccl.h` of 2.28 declares them.
//!
//! Invariant: no function here is called through another crate. Results are numbers, not an enum, as a later
//! NCCL may answer what this one does not know.

use std::ffi::{c_char, c_int, c_void};

use cudarc::nccl::sys::{
    cudaStream_t, ncclComm_t, ncclConfig_t, ncclDataType_t, ncclRedOp_t, ncclResult_t, ncclUniqueId,
};

/// NCCL's answer to a call.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Code(pub u32);

impl Code {
    pub const SUCCESS: Code = Code(ncclResult_t::ncclSuccess as u32);
    pub const CUDA: Code = Code(ncclResult_t::ncclUnhandledCudaError as u32);
    pub const SYSTEM: Code = Code(ncclResult_t::ncclSystemError as u32);
    pub const REMOTE: Code = Code(ncclResult_t::ncclRemoteError as u32);
    pub const IN_PROGRESS: Code = Code(ncclResult_t::ncclInProgress as u32);
}

macro_rules! table {
    ($($field:ident = $symbol:literal: fn($($argument:ty),*) -> $result:ty;)*) => {
        /// Pointers into a library that stays loaded until the process ends.
        #[derive(Clone, Copy)]
        pub(crate) struct Table {
            $(pub $field: unsafe extern "C" fn($($argument),*) -> $result,)*
        }

        impl Table {
            /// Looks all functions up, or gives the name of one that is not there.
            ///
            /// # Safety
            /// Symbols of these names have the signatures of `nccl.h`, and the library is never unloaded.
            pub unsafe fn load(library: &libloading::Library) -> Result<Table, &'static str> {
                $(
                    // SAFETY: the caller vouches for the signature.
                    let $field = unsafe {
                        library.get::<unsafe extern "C" fn($($argument),*) -> $result>($symbol)
                    };
                )*
                Ok(Table { $($field: *$field.map_err(|_| $symbol)?,)* })
            }
        }
    };
}

table! {
    get_version = "ncclGetVersion": fn(*mut c_int) -> Code;
    get_unique_id = "ncclGetUniqueId": fn(*mut ncclUniqueId) -> Code;
    get_error_string = "ncclGetErrorString": fn(Code) -> *const c_char;
    get_last_error = "ncclGetLastError": fn(ncclComm_t) -> *const c_char;
    init = "ncclCommInitRankConfig": fn(*mut ncclComm_t, c_int, ncclUniqueId, c_int, *mut ncclConfig_t) -> Code;
    get_async_error = "ncclCommGetAsyncError": fn(ncclComm_t, *mut Code) -> Code;
    finalize = "ncclCommFinalize": fn(ncclComm_t) -> Code;
    destroy = "ncclCommDestroy": fn(ncclComm_t) -> Code;
    abort = "ncclCommAbort": fn(ncclComm_t) -> Code;
    all_reduce = "ncclAllReduce":
        fn(*const c_void, *mut c_void, usize, ncclDataType_t, ncclRedOp_t, ncclComm_t, cudaStream_t) -> Code;
    all_gather = "ncclAllGather":
        fn(*const c_void, *mut c_void, usize, ncclDataType_t, ncclComm_t, cudaStream_t) -> Code;
    broadcast = "ncclBroadcast":
        fn(*const c_void, *mut c_void, usize, ncclDataType_t, c_int, ncclComm_t, cudaStream_t) -> Code;
}

/// Says "not set" in a field of the config.
const UNSET: c_int = c_int::MIN;

/// What `NCCL_CONFIG_INITIALIZER` of 2.28 gives, but for calls that do not block.
pub(crate) fn config() -> ncclConfig_t {
    ncclConfig_t {
        size: size_of::<ncclConfig_t>(),
        magic: 0xcafe_beef,
        version: 22800,
        blocking: 0,
        cgaClusterSize: UNSET,
        minCTAs: UNSET,
        maxCTAs: UNSET,
        netName: std::ptr::null(),
        splitShare: UNSET,
        trafficClass: UNSET,
        commName: std::ptr::null(),
        collnetEnable: UNSET,
        CTAPolicy: UNSET,
        shrinkShare: UNSET,
        nvlsCTAs: UNSET,
        nChannelsPerNetPeer: UNSET,
        nvlinkCentricSched: UNSET,
    }
}
