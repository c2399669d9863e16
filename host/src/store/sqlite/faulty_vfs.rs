//! Test-only: gives a `faulty_disk` to SQLite as a VFS (sqlite.org/vfs.html). The database, its WAL and its journal go
//! through the faulty disk; other files, locks and shared memory are the real VFS's. Tested through `faulty_disk`.
//!
//! The methods are of version 2, which has no `xFetch`: SQLite then maps no file into memory behind this disk's back.

use super::faulty_disk::{Also, Disk};
use rusqlite::ffi::{self, SQLITE_OK, sqlite3_file, sqlite3_io_methods, sqlite3_vfs};
use std::cell::Cell;
use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::ptr;

/// Makes `disk` known to SQLite under a name.
pub(super) fn register(name: &'static CStr, disk: &'static Disk) {
    // SAFETY: SQLite is asked for its default VFS, which exists and is never changed; what it is given lives for ever.
    let code = unsafe {
        let real = ffi::sqlite3_vfs_find(ptr::null());
        let mount = Box::leak(Box::new(Mount { disk, real }));
        let own_bytes = c_int::try_from(size_of::<FaultyFile>()).expect("small");
        let vfs = Box::leak(Box::new(sqlite3_vfs {
            szOsFile: own_bytes + (*real).szOsFile,
            pNext: ptr::null_mut(),
            zName: name.as_ptr(),
            pAppData: ptr::from_mut(mount).cast(),
            xOpen: Some(open),
            xDelete: Some(delete),
            xAccess: Some(access),
            // The rest of the unix VFS does not look at which VFS it is called for.
            ..*real
        }));
        ffi::sqlite3_vfs_register(vfs, 0)
    };
    assert_eq!(code, SQLITE_OK, "SQLite takes a VFS");
}

/// The files of which a disk may lose something.
const FAULTY: c_int = ffi::SQLITE_OPEN_MAIN_DB | ffi::SQLITE_OPEN_WAL | ffi::SQLITE_OPEN_MAIN_JOURNAL;
/// Why a method is there.
const COMPLETE: &str = "the unix VFS has every method";

/// What a VFS of this module is for.
struct Mount {
    disk: &'static Disk,
    real: *mut sqlite3_vfs,
}

/// A file as SQLite holds it. The real file comes right behind it, in the same piece of memory.
#[repr(C)]
struct FaultyFile {
    base: sqlite3_file,
    disk: &'static Disk,
    path: PathBuf,
    /// What the next sync saves beside the file.
    also: Cell<Also>,
}

/// The file of the real VFS under a faulty one.
#[derive(Clone, Copy)]
pub(super) struct RealFile(*mut sqlite3_file);

impl RealFile {
    fn methods(self) -> &'static sqlite3_io_methods {
        // SAFETY: the file is open, so that its methods are set, and those of the unix VFS are statics.
        unsafe { &*(*self.0).pMethods }
    }

    /// All of the file.
    pub(super) fn read(self) -> Result<Vec<u8>, c_int> {
        let mut bytes = vec![0; self.len()?];
        if bytes.is_empty() {
            return Ok(bytes);
        }
        let count = c_int::try_from(bytes.len()).expect("a test's files are small");
        // SAFETY: the file is open, and there is room for `count` bytes.
        done(unsafe { self.methods().xRead.expect(COMPLETE)(self.0, bytes.as_mut_ptr().cast(), count, 0) })?;
        Ok(bytes)
    }

    pub(super) fn write(self, bytes: &[u8], at: usize) -> Result<(), c_int> {
        let count = c_int::try_from(bytes.len()).expect("SQLite writes pages");
        // SAFETY: the file is open, and there are `count` bytes.
        done(unsafe {
            self.methods().xWrite.expect(COMPLETE)(self.0, bytes.as_ptr().cast(), count, at as i64)
        })
    }

    pub(super) fn truncate(self, len: usize) -> Result<(), c_int> {
        // SAFETY: the file is open.
        done(unsafe { self.methods().xTruncate.expect(COMPLETE)(self.0, len as i64) })
    }

    pub(super) fn sync(self, flags: c_int) -> Result<(), c_int> {
        // SAFETY: the file is open.
        done(unsafe { self.methods().xSync.expect(COMPLETE)(self.0, flags) })
    }

    pub(super) fn len(self) -> Result<usize, c_int> {
        let mut len = 0;
        // SAFETY: the file is open, and `len` outlives the call.
        done(unsafe { self.methods().xFileSize.expect(COMPLETE)(self.0, &raw mut len) })?;
        Ok(usize::try_from(len).expect("not negative"))
    }
}

fn done(code: c_int) -> Result<(), c_int> {
    if code == SQLITE_OK { Ok(()) } else { Err(code) }
}

fn code(result: Result<(), c_int>) -> c_int {
    result.err().unwrap_or(SQLITE_OK)
}

/// # Safety
/// `vfs` is one that `register` made.
unsafe fn mount_of(vfs: *mut sqlite3_vfs) -> &'static Mount {
    // SAFETY: `register` set it to a `Mount` that lives for ever.
    unsafe { &*(*vfs).pAppData.cast() }
}

/// # Safety
/// `name` ends with a zero and outlives the result.
unsafe fn path_of<'a>(name: *const c_char) -> &'a Path {
    // SAFETY: the caller's.
    Path::new(OsStr::from_bytes(unsafe { CStr::from_ptr(name) }.to_bytes()))
}

/// # Safety
/// `file` is memory of at least the size that `register` named, and of SQLite's alignment, which is that of pointers.
unsafe fn real_of(file: *mut sqlite3_file) -> RealFile {
    // SAFETY: the real file comes behind the faulty one.
    RealFile(unsafe { file.cast::<FaultyFile>().add(1) }.cast())
}

/// # Safety
/// `file` is one that `open` opened on a faulty disk and that is not closed.
unsafe fn faulty<'a>(file: *mut sqlite3_file) -> (&'a FaultyFile, RealFile) {
    // SAFETY: `open` wrote a `FaultyFile` there, and nobody changes it before `close`.
    unsafe { (&*file.cast(), real_of(file)) }
}

// SAFETY of everything below: SQLite calls the methods of a VFS and of a file as its manual says, with a VFS that `register`
// made, a file that `open` opened and is not yet closed, and buffers of the size it names.

unsafe extern "C" fn open(
    vfs: *mut sqlite3_vfs,
    name: *const c_char,
    file: *mut sqlite3_file,
    flags: c_int,
    flags_out: *mut c_int,
) -> c_int {
    // SAFETY: see above.
    unsafe {
        let Mount { disk, real } = *mount_of(vfs);
        let open_real = (*real).xOpen.expect(COMPLETE);
        if flags & FAULTY == 0 || name.is_null() {
            // There is room for the real file, and SQLite calls its methods directly.
            return open_real(real, name, file, flags, flags_out);
        }
        (*file).pMethods = ptr::null();
        let below = real_of(file);
        let opened = open_real(real, name, below.0, flags, flags_out);
        if opened != SQLITE_OK {
            return opened;
        }
        let path = path_of(name).to_owned();
        if let Err(code) = disk.open(&path, below) {
            below.methods().xClose.expect(COMPLETE)(below.0);
            return code;
        }
        let base = sqlite3_file { pMethods: &METHODS };
        let new_journal = flags & ffi::SQLITE_OPEN_CREATE != 0 && flags & ffi::SQLITE_OPEN_MAIN_DB == 0;
        let also = Cell::new(if new_journal { Also::Directory } else { Also::Nothing });
        file.cast::<FaultyFile>().write(FaultyFile { base, disk, path, also });
        SQLITE_OK
    }
}

unsafe extern "C" fn delete(vfs: *mut sqlite3_vfs, name: *const c_char, syncs_directory: c_int) -> c_int {
    // SAFETY: see above.
    unsafe {
        let Mount { disk, real } = *mount_of(vfs);
        let also = if syncs_directory == 0 { Also::Nothing } else { Also::Directory };
        if !disk.remove(path_of(name), also) {
            return SQLITE_OK;
        }
        (*real).xDelete.expect(COMPLETE)(real, name, syncs_directory)
    }
}

unsafe extern "C" fn access(
    vfs: *mut sqlite3_vfs,
    name: *const c_char,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    // SAFETY: see above.
    unsafe {
        let Mount { disk, real } = *mount_of(vfs);
        if let (ffi::SQLITE_ACCESS_EXISTS, Some(there)) = (flags, disk.holds(path_of(name))) {
            *out = c_int::from(there);
            return SQLITE_OK;
        }
        (*real).xAccess.expect(COMPLETE)(real, name, flags, out)
    }
}

unsafe extern "C" fn close(file: *mut sqlite3_file) -> c_int {
    // SAFETY: see above; SQLite does not touch the file again.
    unsafe {
        let real = real_of(file);
        let closed = real.methods().xClose.expect(COMPLETE)(real.0);
        file.cast::<FaultyFile>().drop_in_place();
        closed
    }
}

unsafe extern "C" fn read(file: *mut sqlite3_file, into: *mut c_void, count: c_int, at: i64) -> c_int {
    // SAFETY: see above.
    unsafe {
        let (FaultyFile { disk, path, .. }, _) = faulty(file);
        let into = std::slice::from_raw_parts_mut(into.cast::<u8>(), size(i64::from(count)));
        let there = disk.read(path, into, size(at));
        if there < into.len() { ffi::SQLITE_IOERR_SHORT_READ } else { SQLITE_OK }
    }
}

unsafe extern "C" fn write(file: *mut sqlite3_file, from: *const c_void, count: c_int, at: i64) -> c_int {
    // SAFETY: see above.
    unsafe {
        let (FaultyFile { disk, path, .. }, real) = faulty(file);
        let bytes = std::slice::from_raw_parts(from.cast::<u8>(), size(i64::from(count)));
        code(disk.write(path, real, bytes, size(at)))
    }
}

unsafe extern "C" fn truncate(file: *mut sqlite3_file, len: i64) -> c_int {
    // SAFETY: see above.
    let (FaultyFile { disk, path, .. }, _) = unsafe { faulty(file) };
    disk.truncate(path, size(len));
    SQLITE_OK
}

unsafe extern "C" fn sync(file: *mut sqlite3_file, flags: c_int) -> c_int {
    // SAFETY: see above.
    let (FaultyFile { disk, path, also, .. }, real) = unsafe { faulty(file) };
    code(disk.sync(path, real, flags, also.replace(Also::Nothing)))
}

unsafe extern "C" fn file_size(file: *mut sqlite3_file, out: *mut i64) -> c_int {
    // SAFETY: see above.
    unsafe {
        let (FaultyFile { disk, path, .. }, _) = faulty(file);
        *out = disk.len(path) as i64;
    }
    SQLITE_OK
}

fn size(given: i64) -> usize {
    usize::try_from(given).expect("SQLite names no negative size")
}

/// Methods that the real file answers.
macro_rules! forward {
    ($($name:ident: $method:ident($($arg:ident: $of:ty),*) $(-> $back:ty)?;)*) => {$(
        unsafe extern "C" fn $name(file: *mut sqlite3_file, $($arg: $of),*) $(-> $back)? {
            // SAFETY: see above.
            unsafe {
                let real = real_of(file);
                real.methods().$method.expect(COMPLETE)(real.0, $($arg),*)
            }
        }
    )*};
}

forward! {
    lock: xLock(level: c_int) -> c_int;
    unlock: xUnlock(level: c_int) -> c_int;
    check_reserved_lock: xCheckReservedLock(out: *mut c_int) -> c_int;
    file_control: xFileControl(op: c_int, arg: *mut c_void) -> c_int;
    sector_size: xSectorSize() -> c_int;
    device_characteristics: xDeviceCharacteristics() -> c_int;
    shm_map: xShmMap(region: c_int, bytes: c_int, extend: c_int, out: *mut *mut c_void) -> c_int;
    shm_lock: xShmLock(offset: c_int, count: c_int, flags: c_int) -> c_int;
    shm_barrier: xShmBarrier();
    shm_unmap: xShmUnmap(delete: c_int) -> c_int;
}

static METHODS: sqlite3_io_methods = sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};
