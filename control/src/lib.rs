//! What is allowed and what is known.
