//! Scopes as types, so that a handler names what it needs in its signature.

/// The scopes that a handler needs, all of them. Made by [`scope!`](crate::scope!); a tuple of them needs those of each.
pub trait ScopeSet: 'static {
    /// Whether every scope of the set is among those that `carries` says.
    fn all(carries: &dyn Fn(&str) -> bool) -> bool;

    /// Names every scope of the set.
    fn each(name: &mut dyn FnMut(&'static str));
}

macro_rules! of_tuples {
    ($($name:ident)+) => {
        impl<$($name: ScopeSet),+> ScopeSet for ($($name,)+) {
            fn all(carries: &dyn Fn(&str) -> bool) -> bool {
                $($name::all(carries))&&+
            }

            fn each(name: &mut dyn FnMut(&'static str)) {
                $($name::each(name);)+
            }
        }
    };
}

of_tuples!(A B);
of_tuples!(A B C);
of_tuples!(A B C D);

/// Names a scope as a type: `scope!(pub struct Read = "orders:read");`.
///
/// A string that can be no scope (RFC 6749 section 3.3) does not compile.
///
/// ```
/// authmesh_tower::scope!(
///     /// May read orders.
///     pub struct Read = "orders:read"
/// );
/// ```
/// ```compile_fail
/// authmesh_tower::scope!(struct Two = "read write");
/// ```
#[macro_export]
macro_rules! scope {
    ($(#[$meta:meta])* $visible:vis struct $name:ident = $scope:literal) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        $visible struct $name;

        impl $crate::scopes::ScopeSet for $name {
            fn all(carries: &dyn Fn(&str) -> bool) -> bool {
                const { assert!($crate::scopes::is_scope($scope), "this can be no scope (RFC 6749 section 3.3)") };
                carries($scope)
            }

            fn each(name: &mut dyn FnMut(&'static str)) {
                name($scope);
            }
        }
    };
}

/// Whether a string can be a scope (RFC 6749 section 3.3).
#[must_use]
pub const fn is_scope(text: &str) -> bool {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if !matches!(bytes[at], 0x21 | 0x23..=0x5b | 0x5d..=0x7e) {
            return false;
        }
        at += 1;
    }
    !bytes.is_empty()
}
