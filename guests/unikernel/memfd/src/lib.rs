//! Empty: see the workspace.
#![no_std]
