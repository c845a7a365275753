"""Pure functions of parameters: the LSTM, MusicVAE, the surrogate encoder."""
