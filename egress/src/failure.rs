//! What an exchange died of.

use std::error::Error;
use std::io;

use annex_engine::EgressError;

use crate::meter::Meter;

/// What the guest is told of an exchange that broke off.
pub(crate) fn of_exchange(error: &hyper::Error, meter: &Meter) -> EgressError {
    if meter.has_overflowed() || error.is_parse_too_large() {
        return EgressError::TooLarge;
    }
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = next {
        // Our own, of the body that the guest sends.
        if let Some(error) = error.downcast_ref::<EgressError>() {
            return *error;
        }
        if error.is::<rustls::Error>() {
            return EgressError::Tls;
        }
        // An I/O error hides what it carries from `source`.
        next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(carried) => Some(carried),
            None => error.source(),
        };
    }
    EgressError::Protocol
}
