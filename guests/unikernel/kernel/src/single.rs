//! State that exists once.

use core::cell::{RefCell, RefMut};

/// A value of which there is one in the machine.
#[derive(Debug)]
pub struct Single<T>(RefCell<T>);

// SAFETY: there is one processor and nothing preempts it, so no two threads can reach the cell; the cell itself refuses a
// second borrow.
unsafe impl<T> Sync for Single<T> {}

impl<T> Single<T> {
    /// A value for a static.
    pub const fn new(value: T) -> Self {
        Self(RefCell::new(value))
    }

    /// Whether it is borrowed.
    pub fn is_borrowed(&self) -> bool {
        self.0.try_borrow_mut().is_err()
    }

    /// The value.
    ///
    /// # Panics
    /// It is borrowed already.
    pub fn get(&self) -> RefMut<'_, T> {
        self.0.borrow_mut()
    }
}
