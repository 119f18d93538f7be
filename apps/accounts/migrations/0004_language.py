from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("accounts", "0003_invitations")]

    operations = [
        migrations.AddField(
            model_name="user",
            name="language",
            field=models.CharField(
                blank=True,
                choices=[("en", "English"), ("de", "Deutsch"), ("es", "Español")],
                db_default="",
                default="",
                help_text="Of the portal's pages, as the person chose it. Empty: the hospital's.",
                max_length=5,
            ),
        ),
    ]
