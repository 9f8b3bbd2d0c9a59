//! The vault's store and the registry on both databases, by one suite: refusals, conflicts, writers that race or die, and
//! what lies on disk.

mod asks;
mod bed;
mod conflicts;
mod secrets;
mod writers;
mod upkeep;
mod watching;
mod lines;
mod migration;
mod on_disk;
mod keys;
mod identities;
#[path = "../../../../tests/harness/postgres.rs"]
#[expect(unreachable_pub, reason = "the harness shows it to the tests of the whole product, too")]
mod postgres;

/// Makes each case a test on either database.
macro_rules! on_both {
    ($($case:ident),* $(,)?) => {
        mod sqlite {
            use crate::database::tests::bed::Bed;
            $(#[tokio::test] async fn $case() { super::$case(&Bed::sqlite().await).await })*
        }
        mod postgres {
            use crate::database::tests::bed::Bed;
            $(#[tokio::test] async fn $case() { super::$case(&Bed::postgres().await).await })*
        }
    };
}
use on_both;
