"""The ChangeNet table and what its rows say: coordinates, pictures, leakage, seals."""
