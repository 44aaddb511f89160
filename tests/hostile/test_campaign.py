"""A sample of the upload campaign. `campaign.py` runs all of it."""

import unittest

import campaign


class UploadsBesideChats(unittest.TestCase):
    def test_every_body_arrives_as_it_was_sent_and_no_chat_is_answered_for_another(self):
        self.assertEqual(campaign.run(uploads=72, chats=400), [])


if __name__ == "__main__":
    unittest.main()
