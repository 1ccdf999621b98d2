//! The wire form of a state claim, for both sides.

use ulda_run::stage::Cursor;
use ulda_run::{Digest, StateClaim, UnknownName};

use crate::v1;

impl From<StateClaim> for v1::StateClaim {
    fn from(claim: StateClaim) -> Self {
        Self {
            stage: claim.cursor.stage.name().to_owned(),
            step: claim.cursor.step,
            digest: claim.digest.0,
        }
    }
}

impl TryFrom<v1::StateClaim> for StateClaim {
    type Error = UnknownName;

    fn try_from(claim: v1::StateClaim) -> Result<Self, UnknownName> {
        Ok(Self {
            cursor: Cursor {
                stage: claim.stage.parse()?,
                step: claim.step,
            },
            digest: Digest(claim.digest),
        })
    }
}

#[cfg(test)]
mod tests {
    use ulda_run::stage::Stage;

    use super::*;

    #[test]
    fn a_claim_comes_back_as_it_was_sent_and_an_unknown_stage_does_not() {
        for stage in Stage::ALL {
            let claim = StateClaim {
                cursor: Cursor { stage, step: 7 },
                digest: Digest("abc".into()),
            };
            let wire = v1::StateClaim::from(claim.clone());
            assert_eq!(wire.stage, stage.name());
            assert_eq!(StateClaim::try_from(wire).expect("it was just sent"), claim);
        }
        let unknown = v1::StateClaim {
            stage: "rest".into(),
            ..v1::StateClaim::default()
        };
        let error = StateClaim::try_from(unknown).expect_err("there is no such stage");
        assert!(error.to_string().starts_with("`rest` is not a stage"), "{error}");
    }
}
