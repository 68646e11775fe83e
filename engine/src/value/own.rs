//! What a snapshot may share is made one's own before it is written.
//!
//! [`Rc::make_mut`] does that, but as a call, since the copying is in it; and a write asks at each level of a tree.
//! Here the question stands where it is asked, and the copying alone is called. (Nothing here has weak references.)

use alloc::rc::Rc;

/// What is in it, copied first if it is shared.
#[inline]
pub(crate) fn own<T: Clone>(shared: &mut Rc<T>) -> &mut T {
    #[cold]
    fn copy<T: Clone>(shared: &mut Rc<T>) {
        *shared = Rc::new(T::clone(shared));
    }
    if Rc::get_mut(shared).is_none() {
        copy(shared);
    }
    Rc::get_mut(shared).expect("it was just made one's own")
}

/// As [`own`], of what has any length.
#[inline]
pub(crate) fn own_slice<T: Clone>(shared: &mut Rc<[T]>) -> &mut [T] {
    #[cold]
    fn copy<T: Clone>(shared: &mut Rc<[T]>) {
        *shared = Rc::from(&shared[..]);
    }
    if Rc::get_mut(shared).is_none() {
        copy(shared);
    }
    Rc::get_mut(shared).expect("it was just made one's own")
}
