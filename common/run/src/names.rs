//! Names of the variants of plain enums, as files, messages and arguments write them.

/// A text that names no variant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {what} ({names})")]
pub struct UnknownName {
    pub text: String,
    pub what: &'static str,
    /// Those that there are, separated by commas.
    pub names: String,
}

/// Gives each variant of an enum its name, for `ALL`, `name` and `Display`; with `parsed as "a stage"` for `FromStr`, too.
#[macro_export]
macro_rules! variant_names {
    ($kind:ident { $($variant:ident = $name:literal),+ $(,)? }) => {
        impl $kind {
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$variant),+];

            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }

        impl std::fmt::Display for $kind {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }
    };
    ($kind:ident parsed as $what:literal { $($variant:ident = $name:literal),+ $(,)? }) => {
        $crate::variant_names!($kind { $($variant = $name),+ });

        impl std::str::FromStr for $kind {
            type Err = $crate::UnknownName;

            fn from_str(text: &str) -> Result<Self, $crate::UnknownName> {
                let mut all = Self::ALL.into_iter();
                all.find(|known| known.name() == text).ok_or_else(|| $crate::UnknownName {
                    text: text.to_owned(),
                    what: $what,
                    names: Self::ALL.map(Self::name).join(", "),
                })
            }
        }
    };
}
