"""What people ask about models and conversions besides converting."""
