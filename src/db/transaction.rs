//! Write transactions on a connection that is held for good, without a pool.

use std::ops::{Deref, DerefMut};

use sqlx::Executor as _;
use tokio::runtime::Handle;
use tokio::sync::OwnedMutexGuard;

use super::{Conn, DbError};

/// A write transaction: rolled back unless committed.
#[derive(Debug)]
pub struct Tx(Option<OwnedMutexGuard<Conn>>);

const HELD: &str = "the connection is given back by a commit or a drop, which end the transaction";

impl Tx {
    pub(super) async fn begin(conn: OwnedMutexGuard<Conn>) -> Result<Self, DbError> {
        // Made before it begins: a call that is given up half-way is rolled back too.
        let mut tx = Self(Some(conn));
        sqlx::query("BEGIN IMMEDIATE").execute(&mut *tx).await?;
        Ok(tx)
    }

    /// Makes everything that was written in it durable and visible.
    pub async fn commit(mut self) -> Result<(), DbError> {
        sqlx::query("COMMIT").execute(&mut *self).await?;
        self.0 = None;
        Ok(())
    }
}

impl Drop for Tx {
    /// The next transaction waits for the end of the rollback.
    fn drop(&mut self) {
        if let Some(mut conn) = self.0.take()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(async move {
                // Where nothing had begun yet this fails, and nothing is to be undone.
                let _ = (&mut *conn).execute("ROLLBACK").await;
            });
        }
    }
}

impl Deref for Tx {
    type Target = Conn;

    fn deref(&self) -> &Conn {
        self.0.as_ref().expect(HELD)
    }
}

impl DerefMut for Tx {
    fn deref_mut(&mut self) -> &mut Conn {
        self.0.as_mut().expect(HELD)
    }
}
