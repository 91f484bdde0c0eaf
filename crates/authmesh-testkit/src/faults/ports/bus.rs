//! The bus with faults.

use authmesh::ports::{BoxFuture, Bus, BusEvent, BusStream, PortError};

use crate::faults::line::{Kind, Line};
use crate::faults::{Call, Faulty, Op};

#[deny(clippy::missing_trait_methods)]
impl<T: Bus + ?Sized> Bus for Faulty<T> {
    fn subscribe(&self) -> BoxFuture<'_, Result<BusStream, PortError>> {
        Box::pin(async move {
            let forward = || self.inner.subscribe();
            let bells = self.faults.request(Op::Subscribe, || Call::Subscribe, forward).await?;
            let kind = Kind {
                op: Op::Bell,
                call: |bell: &BusEvent| Call::Bell(bell.clone()),
                again: |bell| Some(bell.clone()),
                broken: || Some(BusEvent::Broken),
            };
            Ok(Box::pin(Line::new(bells, self.faults.clone(), kind)) as BusStream)
        })
    }
}
