//! The private PKI of doorward.
