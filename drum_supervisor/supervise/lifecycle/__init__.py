"""What happens is turned into events, the policy is asked, and its actions are carried out."""
